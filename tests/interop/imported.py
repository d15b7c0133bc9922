"""Compares what `lockstep ckpt import` has made of half and bfloat16 numbers with what NumPy and
PyTorch make of them. Usage: imported.py IMPORTED.safetensors WANTED.npz"""
import json
import struct
import sys

import numpy

with open(sys.argv[1], "rb") as file:
    data = file.read()
(length,) = struct.unpack_from("<Q", data)
header, wanted = json.loads(data[8 : 8 + length]), numpy.load(sys.argv[2])
assert set(header) == set(wanted.files)
for name, entry in header.items():
    begin, end = entry["data_offsets"]
    values = numpy.frombuffer(data[8 + length :][begin:end], dtype="<f4").reshape(entry["shape"])
    assert entry["dtype"] == "F32" and values.tobytes() == wanted[name].tobytes(), name
print(f"ok: {len(header)} tensors imported bit for bit")
