"""What the site itself remembers."""

from django.db import models


class EndedLogin(models.Model):
    """A login that was ended before its tokens expire: by a logout, or by an administrator.

    simplejwt can withdraw refresh tokens only. The access tokens of a login name it, so that they
    are refused from then on, too.
    """

    login = models.CharField(max_length=255, primary_key=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.login
