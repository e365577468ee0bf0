"""What a study file is drafted from: the data, the model, and what of both a setting says."""
