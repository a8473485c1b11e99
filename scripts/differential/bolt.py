"""Writes a bbolt file (go.etcd.io/bbolt, file format version 2), which is what Trivy reads.

The whole tree is known beforehand, so pages are written once, from the leaves up. A tree is a
dictionary: a value that is a dictionary is a bucket, one that is bytes is a value.
"""

import struct

PAGE_BYTES = 4096
BRANCH, LEAF, META, FREELIST = 0x01, 0x02, 0x04, 0x10
BUCKET = 0x01
MAGIC, VERSION = 0xED0CDAED, 2
PAGE_HEADER = struct.Struct("<QHHI")
LEAF_ELEMENT = struct.Struct("<IIII")
BRANCH_ELEMENT = struct.Struct("<IIQ")
BUCKET_HEADER = struct.Struct("<QQ")
# A bucket in its parent's leaf may have this many bytes, as bbolt itself has it.
INLINE_MAX = PAGE_BYTES // 4


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def leaf(items, page=0, overflow=0):
    """The bytes of a leaf page of (flags, key, value)."""
    out = bytearray(PAGE_HEADER.pack(page, LEAF, len(items), overflow))
    position = len(items) * LEAF_ELEMENT.size
    for index, (flags, key, value) in enumerate(items):
        out += LEAF_ELEMENT.pack(flags, position - index * LEAF_ELEMENT.size, len(key), len(value))
        position += len(key) + len(value)
    for _, key, value in items:
        out += key + value
    return out


def branch(items, page=0, overflow=0):
    """The bytes of a branch page of (first key, page)."""
    out = bytearray(PAGE_HEADER.pack(page, BRANCH, len(items), overflow))
    position = len(items) * BRANCH_ELEMENT.size
    for index, (key, child) in enumerate(items):
        out += BRANCH_ELEMENT.pack(position - index * BRANCH_ELEMENT.size, len(key), child)
        position += len(key)
    for key, _ in items:
        out += key
    return out


class Writer:
    """Pages in the order in which they get their number."""

    def __init__(self):
        self.pages = bytearray(3 * PAGE_BYTES)

    def page(self, make, items):
        number = len(self.pages) // PAGE_BYTES
        n_pages = -(-len(make(items)) // PAGE_BYTES)
        data = make(items, number, n_pages - 1)
        self.pages += data.ljust(n_pages * PAGE_BYTES, b"\0")
        return number

    def groups(self, items, size_of):
        """Items in groups that fill a page each; a larger item has pages of its own."""
        group, size = [], PAGE_HEADER.size
        for item in items:
            if group and size + size_of(item) > PAGE_BYTES:
                yield group
                group, size = [], PAGE_HEADER.size
            group.append(item)
            size += size_of(item)
        yield group

    def bucket(self, tree):
        """The value that stands for a bucket in its parent."""
        items = []
        for key, value in sorted((key.encode(), value) for key, value in tree.items()):
            is_bucket = isinstance(value, dict)
            items.append((BUCKET if is_bucket else 0, key, self.bucket(value) if is_bucket else value))
        inline = leaf(items)
        if len(inline) <= INLINE_MAX and not any(flags for flags, _, _ in items):
            return BUCKET_HEADER.pack(0, 0) + bytes(inline)
        return BUCKET_HEADER.pack(self.root(items), 0)

    def root(self, items):
        size = lambda item: LEAF_ELEMENT.size + len(item[1]) + len(item[2])
        level = [(group[0][1] if group else b"", self.page(leaf, group)) for group in self.groups(items, size)]
        while len(level) > 1:
            size = lambda item: BRANCH_ELEMENT.size + len(item[0])
            level = [(group[0][0], self.page(branch, group)) for group in self.groups(level, size)]
        return level[0][1]


def write(path, tree):
    writer = Writer()
    items = [(BUCKET, key.encode(), writer.bucket(value)) for key, value in sorted(tree.items())]
    root = writer.root(items)
    end = len(writer.pages) // PAGE_BYTES
    for transaction in (0, 1):
        meta = struct.pack("<IIIIQQQQQ", MAGIC, VERSION, PAGE_BYTES, 0, root, 0, 2, end, transaction)
        page = PAGE_HEADER.pack(transaction, META, 0, 0) + meta + struct.pack("<Q", fnv1a(meta))
        writer.pages[transaction * PAGE_BYTES : transaction * PAGE_BYTES + len(page)] = page
    freelist = PAGE_HEADER.pack(2, FREELIST, 0, 0)
    writer.pages[2 * PAGE_BYTES : 2 * PAGE_BYTES + len(freelist)] = freelist
    with open(path, "wb") as file:
        file.write(writer.pages)
