"""Django settings: everything that differs between installations comes from the environment."""

from datetime import timedelta
from pathlib import Path

from celery.schedules import crontab

from opsportal import environment

BASE_DIR = Path(__file__).resolve().parent.parent
environment.env.read_env(BASE_DIR / ".env")

DEBUG = environment.boolean("DEBUG", False)
SECRET_KEY = environment.secret_key("SECRET_KEY", DEBUG)
FIELD_ENCRYPTION_KEYS = environment.fernet_keys("FIELD_ENCRYPTION_KEYS", SECRET_KEY)
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CORS_ALLOWED_ORIGINS = environment.origins("CORS_ALLOWED_ORIGINS")
CORS_EXPOSE_HEADERS = ["ETag", "Retry-After", "X-Deduplicated", "X-Event-Cursor", "X-Request-ID"]
CSRF_TRUSTED_ORIGINS = environment.origins("CSRF_TRUSTED_ORIGINS")
VAR_DIR = environment.directory("VAR_DIR", BASE_DIR / "var")
REDIS_URL = environment.redis_url("REDIS_URL")
REDIS_PREFIX = environment.prefix(SECRET_KEY)
LOG_FORMAT = environment.choice("LOG_FORMAT", "plain", ("plain", "json"))

# Set where the portal is served over TLS, also by a proxy in front of it.
HTTPS = environment.boolean("HTTPS", False)
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
# Asked for on the machine itself, past the proxy.
SECURE_REDIRECT_EXEMPT = ["^(healthz|readyz|metrics)$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
X_FRAME_OPTIONS = "DENY"
# No page needs anything from another host, nor scripts or styles within its HTML.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

EVENTS_HEARTBEAT = environment.number("EVENTS_HEARTBEAT", 30, 0.05, "seconds")
EVENTS_FLUSH_WINDOW = environment.number("EVENTS_FLUSH_WINDOW", 0.04, 0, "seconds")
EVENTS_COMPRESSION = environment.boolean("EVENTS_COMPRESSION", True)
EVENTS_RING_SIZE = environment.integer("EVENTS_RING_SIZE", 10_000, 1, "events")
EVENTS_STREAM_LIFETIME = environment.number("EVENTS_STREAM_LIFETIME", 3600, 1, "seconds")
EVENTS_MAX_STREAMS = environment.integer("EVENTS_MAX_STREAMS", 20_000, 1, "streams")
EVENTS_MAX_STREAMS_PER_USER = environment.integer("EVENTS_MAX_STREAMS_PER_USER", 100, 1, "streams")
EVENTS_WRITE_TIMEOUT = environment.number("EVENTS_WRITE_TIMEOUT", 60, 0.1, "seconds")
EVENTS_DRAIN_SECONDS = environment.number("EVENTS_DRAIN_SECONDS", 5, 0, "seconds")
EVENTS_RETENTION_DAYS = environment.integer("EVENTS_RETENTION_DAYS", 30, 1, "days")
EVENTS_SUBSCRIPTION_ATTEMPTS = environment.integer("EVENTS_SUBSCRIPTION_ATTEMPTS", 8, 1, "attempts")
SERVERS_TEST_TIMEOUT = environment.number("SERVERS_TEST_TIMEOUT", 10, 0.1, "seconds", maximum=50)
SERVERS_CHECK_INTERVAL = environment.integer("SERVERS_CHECK_INTERVAL", 300, 0, "seconds")
AUTOMATION_MAX_RUNS = environment.integer("AUTOMATION_MAX_RUNS", 20, 1, "runs")
AUTOMATION_LOG_LIMIT = environment.integer("AUTOMATION_LOG_LIMIT", 10_485_760, 65_536, "bytes")
AUTOMATION_DRAIN_SECONDS = environment.number("AUTOMATION_DRAIN_SECONDS", 10, 0, "seconds")
AUTOMATION_RETENTION_DAYS = environment.integer("AUTOMATION_RETENTION_DAYS", 90, 1, "days")
PORTAL_URL = environment.base_url("PORTAL_URL")
NOTIFICATIONS_ALLOWED_NETWORKS = environment.networks("NOTIFICATIONS_ALLOWED_NETWORKS")
# Each takes a socket, and all of them share one process's files.
SERVERS_CHECK_CONCURRENCY = environment.integer(
    "SERVERS_CHECK_CONCURRENCY", 50, 1, "checks", maximum=500
)

INSTALLED_APPS = [
    "opsportal.apps.OpsPortalConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "corsheaders",
    "csp",
    "django_htmx",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "events",
    "servers",
    "incidents",
    "automation",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "opsportal.static.StaticFilesMiddleware",
    "events.middleware.RequestContextMiddleware",
    "opsportal.logs.AccessLogMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "opsportal.urls"
ASGI_APPLICATION = "opsportal.asgi.application"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "incidents.context_processors.bell",
                "opsportal.context_processors.stream_identity",
            ],
        },
    },
]

DATABASES = {
    "default": environment.database("DATABASE_URL", VAR_DIR / "db.sqlite3")
    | {"ATOMIC_REQUESTS": True, "CONN_MAX_AGE": 0}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CHANNEL_LAYERS: dict[str, dict[str, object]] = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}
CACHES: dict[str, dict[str, object]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}
if REDIS_URL:
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": REDIS_PREFIX},
    }
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": REDIS_PREFIX,
        # Seconds: requests do without a cache that hangs, but have to find out.
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
    }

CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = environment.broker(
    REDIS_URL, REDIS_PREFIX, VAR_DIR / "broker"
)
CELERY_BROKER_TRANSPORT = None if REDIS_URL else "opsportal.broker:Transport"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0}  # a request waits
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    "run-due-checks": {
        "task": "servers.tasks.run_due_checks",
        "schedule": 5.0,
        "options": {"expires": 5.0},  # while all workers are busy they must not pile up
    },
    "end-maintenance": {
        "task": "servers.tasks.end_maintenance",
        "schedule": 5.0,
        "options": {"expires": 5.0},
    },
    "deliver-due": {
        "task": "incidents.tasks.deliver_due",
        "schedule": 5.0,
        "options": {"expires": 5.0},
    },
    "resolve-recovered": {
        "task": "incidents.tasks.resolve_recovered",
        "schedule": 5.0,
        "options": {"expires": 5.0},
    },
    "start-queued-runs": {
        "task": "automation.tasks.start_queued",
        "schedule": 5.0,
        "options": {"expires": 5.0},
    },
    "reap-runs": {
        "task": "automation.tasks.reap_runs",
        "schedule": 10.0,
        "options": {"expires": 10.0},
    },
    "prune-logs": {
        "task": "automation.tasks.prune_logs",
        "schedule": crontab(hour="4", minute="0"),
    },
    "prune-samples": {
        "task": "servers.tasks.prune_samples",
        "schedule": crontab(hour="3", minute="40"),
    },
    "prune-notifications": {
        "task": "incidents.tasks.prune_notifications",
        "schedule": crontab(hour="3", minute="50"),
    },
    "fail-overdue-tests": {"task": "servers.tasks.fail_overdue_tests", "schedule": 15.0},
    "run-due-subscriptions": {
        "task": "opsportal.tasks.run_due_subscriptions",
        "schedule": 15.0,
    },
    "prune-events": {
        "task": "opsportal.tasks.prune_events",
        "schedule": crontab(hour="3", minute="30"),
    },
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "opsportal.tokens.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["events.permissions.ModelPermissions"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "opsportal.rest.PageNumbers",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "opsportal.rest.exception_handler",
    # Escaped, as an error may repeat input that no encoding holds: a lone surrogate.
    "UNICODE_JSON": False,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=60),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "UPDATE_LAST_LOGIN": False,
    "CHECK_REVOKE_TOKEN": True,  # a changed password ends the tokens given before
}
SPECTACULAR_SETTINGS = {
    "TITLE": "OpsPortal",
    "DESCRIPTION": "Servers, and every change to them as it happens.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "ServerStatusEnum": "servers.models.Server.Status",
        "SeverityEnum": "incidents.models.incident.Severity",
        "RunStatusEnum": "automation.models.Run.Status",
        "TargetStatusEnum": "automation.models.Target.Status",
        "IncidentStatusEnum": "incidents.models.incident.Status",
        "NotificationStateEnum": "incidents.models.Notification.State",
        "PeriodStateEnum": "servers.models.StatusPeriod.State",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "opsportal.openapi.declare_errors",
    ],
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "events.context.RequestIDFilter"},
        "routine": {"()": "opsportal.routine.RoutineFilter"},
    },
    "formatters": {
        "plain": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"},
        "json": {"()": "opsportal.logs.JSONFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["request_id", "routine"],
        }
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"level": "INFO"},
        "django.request": {"level": "ERROR"},
        "asyncssh": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
    },
}
