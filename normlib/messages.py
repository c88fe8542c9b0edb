"""The sentences that the course shows, from messages.toml: a table for each place."""

import pathlib
import tomllib

TABLES = tomllib.loads(pathlib.Path(__file__).with_name("messages.toml").read_text("utf-8"))
EXPLORER = TABLES["EXPLORER"]
AXES = TABLES["AXES"]
FLIPBOOK = TABLES["FLIPBOOK"]
PREDICT = TABLES["PREDICT"]
CHECK = TABLES["CHECK"]
TRIAL = TABLES["TRIAL"]
ENVIRONMENT = TABLES["ENVIRONMENT"]
STILL = TABLES["STILL"]
SURVEY = TABLES["SURVEY"]
QUESTIONS = TABLES["QUESTIONS"]
STOPPED = TABLES["STOPPED"]
