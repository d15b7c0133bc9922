"""Reads a checkpoint with PyTorch and NumPy (and the safetensors library where it is installed),
compares it with what `lockstep ckpt export` has written, and writes weights of a PyTorch network as
safetensors, in float64, float16 and bfloat16, for `lockstep ckpt import`.
Usage: checkpoints.py CHECKPOINT EXPORTED.safetensors NPY_FOLDER OUT_FOLDER"""
import json
import math
import os
import struct
import sys

checkpoint, exported, npy_folder, out_folder = sys.argv[1:5]

try:
    import numpy
except ImportError:
    print("skipped: no NumPy")
    sys.exit(77)
try:
    import torch
except ImportError:
    torch = None
    print("skipped: no PyTorch")
try:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file
except ImportError:
    load_file = None
    print("skipped: no safetensors library")

TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "F16": "<f2"}


def read(path):
    """{name: array} by the published description of the format."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0 and all(isinstance(v, str) for v in header.pop("__metadata__", {}).values())
    body, end, tensors = data[8 + length :], 0, {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        assert begin == end
        end = stop
        values = numpy.frombuffer(body[begin:stop], dtype=TYPES[entry["dtype"]])
        assert values.size == math.prod(entry["shape"])
        tensors[name] = values.reshape(entry["shape"])
    assert end == len(body)
    return tensors


def same(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def write(path, tensors, dtype):
    """tensors: {name: (shape, bytes)}; by the library if there is one and it knows the type"""
    if load_file and dtype != "BF16":
        save_file({name: numpy.frombuffer(data, dtype=TYPES[dtype]).reshape(shape)
                   for name, (shape, data) in tensors.items()}, path)
        return
    header, body = {}, b""
    for name in sorted(tensors, reverse=True):
        shape, data = tensors[name]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


with open(os.path.join(checkpoint, "state.json"), encoding="utf-8") as file:
    state = json.load(file)
found = {}
for record in state["files"]:
    path = os.path.join(checkpoint, record["name"])
    assert os.path.getsize(path) == record["bytes"], path
    tensors = read(path)
    assert tensors.keys() == record["tensors"].keys()
    assert all(numpy.isfinite(values).all() for values in tensors.values())
    if load_file:
        loaded = load_file(path)
        assert loaded.keys() == tensors.keys() and all(same(loaded[n], tensors[n]) for n in tensors)
        with safe_open(path, framework="numpy") as opened:
            assert opened.metadata()["step"] == str(state["progress"]["step"])
    found[record["name"]] = tensors
model = found["model.safetensors"]
print(f"ok: step {state['progress']['step']}, {len(model)} tensors of the model, "
      f"{len(found['optimizer.safetensors'])} of the optimizer")

plain = read(exported)
assert plain.keys() == model.keys() and all(same(plain[name], model[name]) for name in model)
for name, values in model.items():
    assert same(numpy.load(os.path.join(npy_folder, name + ".npy")), values), name
print("ok: the exports hold the same numbers")

write(os.path.join(out_folder, "double.safetensors"),
      {n: (v.shape, v.astype("<f8").tobytes()) for n, v in model.items()}, "F64")
halves = {n: v.astype("<f2") for n, v in model.items()}
write(os.path.join(out_folder, "half.safetensors"), {n: (v.shape, v.tobytes()) for n, v in halves.items()}, "F16")
numpy.savez(os.path.join(out_folder, "half.npz"), **{n: v.astype("<f4") for n, v in halves.items()})
if torch:
    tensors = {n: torch.from_numpy(v.copy()) for n, v in model.items()}
    assert all(same(tensors[n].numpy(), model[n]) for n in model)
    brain = {n: v.bfloat16() for n, v in tensors.items()}
    write(os.path.join(out_folder, "brain.safetensors"),
          {n: (v.shape, v.view(torch.int16).numpy().tobytes()) for n, v in brain.items()}, "BF16")
    numpy.savez(os.path.join(out_folder, "brain.npz"), **{n: v.float().numpy() for n, v in brain.items()})
    print("ok: PyTorch holds the same numbers")
