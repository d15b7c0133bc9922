"""Reads a run's TensorBoard events with Google's protobuf library and with TensorBoard itself, where they
are installed, and compares them with metrics.jsonl. Usage: events.py RUN"""
import glob
import json
import os
import struct
import sys

run = sys.argv[1]
tb = os.path.join(run, "tb")


def wanted():
    """{tag: [(step, value as float32)]} from metrics.jsonl."""
    series = {}
    names = {"step": "train", "eval": "eval"}
    keys = ("loss", "accuracy", "lr", "grad_norm", "clip", "samples_per_second", "epoch")
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
        for line in map(json.loads, file):
            for key in keys if line["event"] in names else ():
                if line["event"] == "eval" and key == "epoch" or line.get(key) is None:
                    continue
                tag = names[line["event"]] + "/" + key
                series.setdefault(tag, []).append((line["step"], line[key]))
    return series


def compare(found, tool):
    """Values are float32 in event files; samples/s and epoch are rounded in JSON."""
    series = wanted()
    assert found.keys() == series.keys(), (sorted(found), sorted(series))
    for tag, points in series.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in points], tag
        for (_, got), (_, value) in zip(found[tag], points):
            slack = 0.06 if tag.endswith("samples_per_second") else 1e-6
            assert abs(got - value) <= slack + 1e-6 * abs(value), (tag, got, value)
    count = sum(len(points) for points in series.values())
    print(f"ok: {tool} reads {count} values of {len(series)} scalars")


def event_type():
    """The part of event.proto and summary.proto that scalars need."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")

    def message(name, *fields):
        entry = file.message_type.add(name=name)
        for number, label, kind, title, type_name in fields:
            entry.field.add(name=title, number=number, label=label, type=kind, type_name=type_name)

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    message("Value", (1, one, field.TYPE_STRING, "tag", None),
            (2, one, field.TYPE_FLOAT, "simple_value", None))
    message("Summary", (1, many, field.TYPE_MESSAGE, "value", ".t.Value"))
    message("Event", (1, one, field.TYPE_DOUBLE, "wall_time", None),
            (2, one, field.TYPE_INT64, "step", None),
            (3, one, field.TYPE_STRING, "file_version", None),
            (5, one, field.TYPE_MESSAGE, "summary", ".t.Summary"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("t.Event")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def check_protobuf():
    try:
        Event = event_type()
    except ImportError:
        print("skipped: no protobuf library")
        return
    (path,) = glob.glob(os.path.join(tb, "events.out.tfevents.*"))
    with open(path, "rb") as file:
        data = file.read()
    found, at, version = {}, 0, None
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        assert not event.UnknownFields() if hasattr(event, "UnknownFields") else True
        version = version or event.file_version
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        at += length + 16
    assert at == len(data) and version == "brain.Event:2"
    compare(found, "protobuf")


def check_tensorboard():
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        print("skipped: no TensorBoard")
        return
    events = EventAccumulator(tb, size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    compare({tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}, "TensorBoard")


check_protobuf()
check_tensorboard()
