"""Reads a run's text files with other programs' readers: json, csv, and PyYAML and pandas where they are
installed. Usage: metrics.py RUN"""
import csv
import json
import math
import os
import struct
import sys

run = sys.argv[1]


def no_constant(name):
    raise ValueError(f"{name} is not JSON")


def records():
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
        return [json.loads(line, parse_constant=no_constant) for line in file]


def check_json(lines):
    assert lines[0]["event"] == "start" and lines[-1]["event"] == "end"
    steps = [line for line in lines if line["event"] == "step"]
    assert steps and [line["step"] for line in steps] == sorted(line["step"] for line in steps)
    for line in lines:
        if line["event"] in ("step", "eval"):
            assert struct.pack(">d", line["loss"]).hex() == line["loss_bits"], line
    with open(os.path.join(run, "summary.json"), encoding="utf-8") as file:
        summary = json.load(file, parse_constant=no_constant)
    with open(os.path.join(run, "meta.json"), encoding="utf-8") as file:
        meta = json.load(file, parse_constant=no_constant)
    assert summary["digest"] == lines[-1]["digest"] == steps[-1]["digest"]
    assert summary["trajectory"] == lines[-1]["trajectory"] and meta["ranks"] == summary["ranks"]
    print(f"ok: json reads {len(lines)} records, summary and meta")


def check_csv(lines):
    with open(os.path.join(run, "metrics.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = [line for line in lines if line["event"] in ("step", "eval")]
    assert len(rows) == len(wanted)
    for row, line in zip(rows, wanted):
        assert None not in row and None not in row.values()
        for key, text in row.items():
            value = line.get(key)
            if value is None:
                assert text in ("", "nan", "inf", "-inf"), (key, text)
            elif isinstance(value, str):
                assert text == value
            else:
                assert float(text) == value
    print(f"ok: csv reads {len(rows)} rows, equal to the JSON")


def check_yaml():
    try:
        import yaml
    except ImportError:
        print("skipped: no PyYAML")
        return
    with open(os.path.join(run, "config.yaml"), encoding="utf-8") as file:
        config = yaml.safe_load(file)
    assert isinstance(config["train"]["batch"], int) and config["model"]["layers"]
    print("ok: PyYAML reads config.yaml")


def check_pandas(lines):
    try:
        import pandas
    except ImportError:
        print("skipped: no pandas")
        return
    frame = pandas.read_json(os.path.join(run, "metrics.jsonl"), lines=True, precise_float=True)
    table = pandas.read_csv(os.path.join(run, "metrics.csv"), float_precision="round_trip")
    steps = [line["loss"] for line in lines if line["event"] == "step"]
    assert table[table.event == "step"].loss.tolist() == steps
    found = frame[frame.event == "step"].loss.tolist()
    assert all(math.isclose(a, b, rel_tol=1e-14) for a, b in zip(found, steps, strict=True))
    print("ok: pandas reads metrics.jsonl and metrics.csv")


all_records = records()
check_json(all_records)
check_csv(all_records)
check_yaml()
check_pandas(all_records)
