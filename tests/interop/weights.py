"""Reads a run's weights by the published description of the format (standard library only) and with the
safetensors library where it is installed; writes them anew, tensors in another order and without
metadata, for `lockstep eval`. Usage: weights.py FILE NEW_FILE"""
import json
import math
import struct
import sys

path, new_path = sys.argv[1:3]


def read_plainly():
    """{name: (shape, bytes)}, with the checks that the reference implementation makes."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<Q", data)
    text = data[8 : 8 + length]
    assert text[:1] == b"{" and length % 8 == 0 and length < 100_000_000
    header = json.loads(text)
    metadata = header.pop("__metadata__")
    assert all(isinstance(value, str) for value in metadata.values())
    body, tensors, end = data[8 + length :], {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        assert entry["dtype"] == "F32" and begin == end
        assert stop - begin == 4 * math.prod(entry["shape"])
        tensors[name] = (entry["shape"], body[begin:stop])
        end = stop
    assert end == len(body)
    print(f"ok: {len(tensors)} tensors, {end // 4} floats, step {metadata['step']}")
    return tensors


def check_library(tensors):
    try:
        from safetensors import safe_open
        from safetensors.numpy import load_file
    except ImportError:
        print("skipped: no safetensors library")
        return
    loaded = load_file(path)
    assert loaded.keys() == tensors.keys()
    for name, (shape, data) in tensors.items():
        assert list(loaded[name].shape) == shape and loaded[name].tobytes() == data, name
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["format"] == "lockstep"
    print("ok: the safetensors library reads the same bytes")


def check_numpy(tensors):
    try:
        import numpy
    except ImportError:
        print("skipped: no NumPy")
        return
    for name, (shape, data) in tensors.items():
        values = numpy.frombuffer(data, dtype="<f4").reshape(shape)
        assert numpy.isfinite(values).all(), name
    print("ok: NumPy maps every tensor")


def write_plainly(tensors):
    header, body = {}, b""
    for name in sorted(tensors, reverse=True):
        shape, data = tensors[name]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    with open(new_path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def write_anew(tensors):
    try:
        import numpy
        from safetensors.numpy import save_file
    except ImportError:
        write_plainly(tensors)
        print("ok: written anew by the standard library")
        return
    save_file({name: numpy.frombuffer(data, dtype="<f4").reshape(shape)
               for name, (shape, data) in tensors.items()}, new_path)
    print("ok: written anew by the safetensors library")


all_tensors = read_plainly()
check_library(all_tensors)
check_numpy(all_tensors)
write_anew(all_tensors)
