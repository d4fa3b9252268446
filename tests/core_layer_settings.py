"""The portal's settings, but with channels_redis' other layer, which an installation may choose."""

from opsportal.settings import *  # noqa: F403
from opsportal.settings import CHANNEL_LAYERS

CHANNEL_LAYERS["default"]["BACKEND"] = "channels_redis.core.RedisChannelLayer"
