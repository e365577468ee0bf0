"""Who runs the trials: one worker of a study, alone or among others, and when it stops."""
