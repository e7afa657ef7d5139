"""What `record.c` recorded, played back up to any moment, and then the power goes.

What a file system owes a program is modelled as POSIX has it, which is less than most give: bytes are there once a sync of the
file has returned that began after they were written, names once a sync of their folder has. Of everything else any part may
be there: a write whole, in sectors, or not at all, in any order; of the names of a folder a beginning, or any choice.
"""

import os
import random
import struct

CREATE, WRITE, LENGTH, ALLOCATE, SYNC_BEGIN, SYNC_END, RENAME, LINK, UNLINK, MKDIR, RMDIR = range(1, 12)
HEAD = struct.Struct("<BQQQII")
SECTOR = 512


def events(recorded: str):
    """Every event: (type, seconds of time.monotonic, a, b, path, data)."""
    with open(recorded, "rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            kind, nanoseconds, a, b, path_length, data_length = HEAD.unpack(head)
            path, data = file.read(path_length).decode(), file.read(data_length)
            if len(data) < data_length:
                return
            yield kind, nanoseconds / 1e9, a, b, path, data


class Content:
    """The bytes of a file; zeros at its end are a length only."""

    def __init__(self):
        self.data = bytearray()
        self.length = 0

    def apply(self, kind: int, at: int, what) -> None:
        if kind == WRITE:
            if len(self.data) < at:
                self.data += bytes(at - len(self.data))
            self.data[at:at + len(what)] = what
            self.length = max(self.length, at + len(what))
        elif kind == LENGTH:
            del self.data[at:]
            self.length = at
        elif kind == ALLOCATE:
            self.length = max(self.length, at + what)

    def copy(self) -> "Content":
        new = Content()
        new.data, new.length = bytearray(self.data), self.length
        return new


class File:
    def __init__(self):
        self.durable = Content()
        self.pending: list = []
        self.begun = 0

    def change(self, *operation) -> None:
        self.pending.append(operation)
        self.begun += 1

    def sync(self, up_to: int) -> None:
        """Everything that was begun before `up_to` is durable."""
        left = self.begun - up_to
        done = len(self.pending) - left
        if done > 0:
            for operation in self.pending[:done]:
                self.durable.apply(*operation)
            del self.pending[:done]

    def after_a_cut(self, dice: random.Random) -> Content:
        content = self.durable.copy()
        mode = dice.choice(["none", "all", "some", "torn"])
        for kind, at, what in self.pending:
            if mode == "none" or (mode != "all" and dice.random() < 0.5):
                continue
            if mode == "torn" and kind == WRITE:
                place = 0
                while place < len(what):
                    end = min(len(what), (at + place) // SECTOR * SECTOR + SECTOR - at)
                    if dice.random() < 0.7:
                        content.apply(WRITE, at + place, what[place:end])
                    place = end
            else:
                content.apply(kind, at, what)
        return content


class Folder:
    def __init__(self):
        self.now: dict = {}
        self.durable: dict = {}
        self.pending: list = []
        self.begun = 0

    def change(self, name: str, node) -> None:
        """The name stands for this, or for nothing."""
        if node is None:
            self.now.pop(name, None)
        else:
            self.now[name] = node
        self.pending.append(((name, node),))
        self.begun += 1

    def move(self, old: str, new: str) -> None:
        node = self.now.pop(old)
        self.now[new] = node
        self.pending.append(((old, None), (new, node)))
        self.begun += 1

    def sync(self, up_to: int) -> None:
        done = len(self.pending) - (self.begun - up_to)
        if done > 0:
            for operation in self.pending[:done]:
                self.apply(self.durable, operation)
            del self.pending[:done]

    @staticmethod
    def apply(names: dict, operation) -> None:
        for name, node in operation:
            if node is None:
                names.pop(name, None)
            else:
                names[name] = node

    def after_a_cut(self, dice: random.Random) -> dict:
        names = dict(self.durable)
        if dice.random() < 0.5:
            kept = self.pending[:dice.randint(0, len(self.pending))]
        else:
            kept = [operation for operation in self.pending if dice.random() < 0.5]
        for operation in kept:
            self.apply(names, operation)
        return names


class Disk:
    """The folder's disk: what is there now, and what would be after a cut."""

    def __init__(self):
        self.root = Folder()
        self.syncs: dict = {}

    def find(self, path: str):
        node = self.root
        if path != ".":
            for part in path.split("/"):
                node = node.now.get(part) if isinstance(node, Folder) else None
        return node

    def above(self, path: str) -> tuple:
        folder, _, name = path.rpartition("/")
        return self.find(folder or "."), name

    def play(self, kind: int, a: int, b: int, path: str, data: bytes) -> None:
        if kind in (WRITE, LENGTH, ALLOCATE):
            file = self.find(path)
            # None: removed while somebody still writes to it, which no name will ever show.
            if file is not None:
                file.change(kind, a, data if kind == WRITE else b)
        elif kind == CREATE:
            folder, name = self.above(path)
            if name not in folder.now:
                folder.change(name, File())
        elif kind == MKDIR:
            folder, name = self.above(path)
            folder.change(name, Folder())
        elif kind in (UNLINK, RMDIR):
            folder, name = self.above(path)
            folder.change(name, None)
        elif kind in (RENAME, LINK):
            (source, old), (target, new) = self.above(path), self.above(data.decode())
            if kind == RENAME and source is target:
                source.move(old, new)
            else:
                target.change(new, source.now[old])
                if kind == RENAME:
                    source.change(old, None)
        elif kind == SYNC_BEGIN:
            node = self.find(path)
            if node is not None:
                self.syncs[a] = (node, node.begun)
        elif kind == SYNC_END:
            node, begun = self.syncs.pop(a, (None, 0))
            if node is not None and b:
                node.sync(begun)

    def cut(self, dice: random.Random, to: str) -> None:
        """Writes the folder as a cut at this moment may leave it."""
        os.makedirs(to)
        self._write(self.root, dice, to)

    def _write(self, folder: Folder, dice: random.Random, to: str) -> None:
        for name, node in sorted(folder.after_a_cut(dice).items()):
            path = os.path.join(to, name)
            if isinstance(node, Folder):
                os.mkdir(path)
                self._write(node, dice, path)
            else:
                content = node.after_a_cut(dice)
                with open(path, "wb") as file:
                    file.write(content.data)
                    file.truncate(content.length)
