// The two layouts of torch.save. Numbers are little-endian.
//
// Since PyTorch 1.6, a zip archive whose entries all lie in one folder of any name:
//     data.pkl    the pickle of what was saved
//     data/KEY    a storage, whose key the pickle names; not compressed
//     byteorder   "little" or "big": of the numbers in storages; little without it
//     version and others, which matter to PyTorch alone
//
// Before, and with _use_new_zipfile_serialization=False:
//     pickle      the integer 0x1950a86a20f9469cfc6c
//     pickle      the integer 1001, the version of this layout
//     pickle      a dict about the machine, of no effect: storages are little-endian whatever it says
//     pickle      what was saved
//     pickle      the list of the keys of all storages, as texts
//     storages    in the order of the list: i64 number of elements, then these, unaligned
#pragma once
#include "normtweak/formats/pytorch_objects.h"

namespace normtweak::formats {

struct PytorchContainer {
  PickleValue saved;           // a dict;           // lives as long as `memory`
  bool is_big_endian = false;  // the numbers in storages
};

// Reads the pickle of what was saved, and finds the bytes of all storages that it names. Throws Error naming `origin`
// and what is wrong: a file of another kind, what is no dict, TorchScript, a storage that is missing or of another
// size.
PytorchContainer read_pytorch_container(std::span<const std::byte> bytes, const std::string& origin,
                                        PytorchObjects& objects, PickleMemory& memory);

}  // namespace normtweak::formats
