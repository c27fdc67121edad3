#!/usr/bin/env python3
"""Makes a program's man page, and has it print its completions for bash, zsh and fish.

Everything about commands and options is what the program itself says to --help, so it can't be
otherwise than the program is. What --help doesn't say (files, signals) is in <program>.in beside
this script, in man(7).

    make.py PROGRAM FOLDER      writes <name>.1, <name>.bash, _<name> and <name>.fish
    make.py --check PROGRAM     says what would be described, one line a command or option

The date of the page is SOURCE_DATE_EPOCH, or none.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Command:
    words: list  # ["ca", "sign"]
    usage: str = ""
    about: str = ""
    notes: str = ""
    options: list = field(default_factory=list)  # (name, takes a value, text)
    positional: list = field(default_factory=list)  # (name, text)
    commands: list = field(default_factory=list)  # of Command

    def all(self):
        yield self
        for command in self.commands:
            yield from command.all()


def read(program, words=()):
    """What --help says of a command, and of those below it."""
    told = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True)
    sections = re.split(r"\n\n(?=\S)", told.stdout.strip())
    command = Command(list(words))
    about = []
    for section in sections:
        title, _, body = section.partition("\n")
        if title.startswith("Usage: "):
            command.usage = " ".join(section[len("Usage: ") :].split())
        elif title in ("Options:", "Positional Arguments:", "Commands:"):
            entries = list(read_entries(body))
            if title == "Options:":
                for name, text in entries:
                    option = re.search(r"(--\S+)( <)?", name)
                    command.options.append((option[1], bool(option[2]), text))
            elif title == "Commands:":
                command.commands = [read(program, [*words, name]) for name, _ in entries]
            else:
                command.positional = entries
        elif title == "Notes:":
            command.notes = " ".join(body.split())
        elif title.endswith(":") and body:
            sys.exit(f"make.py: --help of {words} has a section {title} that isn't known")
        else:
            about.append(" ".join(section.split()))
    command.about = "\n".join(about)
    if not command.usage or not command.about:
        sys.exit(f"make.py: --help of {program} {' '.join(words)} can't be read")
    return command


def read_entries(body):
    """Name and text of each entry; a text's further lines are indented more."""
    name, text = None, ""
    for line in body.splitlines():
        # One blank is all that stands between where a name is just short enough for its line.
        entry = re.match(r"  ((?:\S+,\s)*\S+(?: <\S+>)?)(?:\s+(.*))?$", line)
        if entry and not line.startswith("   "):
            if name:
                yield name, " ".join(text.split())
            name, text = entry[1], entry[2] or ""
        else:
            text += " " + line
    if name:
        yield name, " ".join(text.split())


def roff(text):
    text = text.replace("\\", "\\\\").replace("-", "\\-")
    text = re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)
    # What is typed, as Markdown marks it.
    return re.sub(r"`([^`]+)`", r"\\fB\1\\fR", text)


def page(name, version, root, rest):
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = time.strftime("%Y-%m-%d", time.gmtime(int(epoch))) if epoch else ""
    summary = root.about.split(":", 1)[-1].strip().rstrip(".")
    lines = [
        ".\\\" Made by packaging/man/make.py from what --help says.",
        f'.TH {name.upper()} 1 "{date}" "{name} {version}" "User Commands"',
        ".SH NAME",
        f"{name} \\- {roff(summary)}",
        ".SH SYNOPSIS",
        f".B {roff(name)}",
        ".I command",
        "[options]",
        ".SH DESCRIPTION",
        roff(root.about),
    ]
    options(lines, root)
    lines.append(".SH COMMANDS")
    for command in root.all():
        if command is root:
            continue
        usage = command.usage.split(" ", 1)[1]
        lines += [f".SS {roff(' '.join(command.words))}", roff(command.about), ".PP"]
        lines += [f".B {roff(name)}", roff(usage)]
        for word, text in command.positional:
            lines += [".TP", f".I {roff(word)}", roff(text)]
        options(lines, command)
        if command.notes:
            lines += [".PP", roff(command.notes)]
    return "\n".join(lines) + "\n" + rest


def options(lines, command):
    for option, takes, text in command.options:
        value = f" \\fI{roff(option.lstrip('-'))}\\fR" if takes else ""
        lines += [".TP", f"\\fB{roff(option)}\\fR{value}", roff(text)]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    checking = sys.argv[1] == "--check"
    program = os.path.abspath(sys.argv[2] if checking else sys.argv[1])
    name = os.path.basename(program)
    root = read(program)
    if checking:
        for command in root.all():
            for option, takes, _ in command.options:
                print(" ".join([*command.words, option + ("=" if takes else "")]))
        return
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    rest = (Path(__file__).parent / f"{name}.in").read_text()
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.1").write_text(page(name, version, root, rest))
    for shell, file in (("bash", f"{name}.bash"), ("zsh", f"_{name}"), ("fish", f"{name}.fish")):
        words = [program, "completion", shell]
        told = subprocess.run(words, capture_output=True, text=True, check=True)
        (folder / file).write_text(told.stdout)


if __name__ == "__main__":
    main()
