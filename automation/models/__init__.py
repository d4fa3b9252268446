from automation.models.definition import Automation
from automation.models.run import LogBatch, Run, Target

__all__ = ["Automation", "LogBatch", "Run", "Target"]
