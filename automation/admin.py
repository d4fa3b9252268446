from django.contrib import admin

from automation.definition_admin import AutomationAdmin
from automation.models import Automation, Run
from automation.run_admin import RunAdmin

admin.site.register(Automation, AutomationAdmin)
admin.site.register(Run, RunAdmin)
