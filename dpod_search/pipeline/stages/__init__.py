"""What each stage of a run does, and the table of the stages."""
