from django.db import migrations

NAMES = ("production", "staging", "development")


def create_environments(apps, schema_editor):
    environments = apps.get_model("servers", "Environment").objects
    for name in NAMES:
        environments.get_or_create(name=name, defaults={"accept_new_host_keys": False})


class Migration(migrations.Migration):
    dependencies = [("servers", "0001_initial")]

    operations = [migrations.RunPython(create_environments, migrations.RunPython.noop)]
