"""What a handler leaves behind."""

from django.db import models


class Effect(models.Model):
    """Nothing in it is unique: a second handling would be seen, and not refused."""

    position = models.BigIntegerField()
    worker = models.IntegerField()

    class Meta:
        app_label = "subscriber"

    def __str__(self) -> str:
        return f"{self.position}"
