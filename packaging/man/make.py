#!/usr/bin/env python3
"""Makes a program's man page and its completions for bash, zsh and fish.

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
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


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


def tables(root):
    """(words so far, what may follow) for each command."""
    for command in root.all():
        follow = [child.words[-1] for child in command.commands]
        follow += [option for option, _, _ in command.options]
        yield " ".join(command.words), follow


def bash(name, root):
    function = "_" + name.replace("-", "_")
    cases = "\n".join(
        f"        '{words}') words='{' '.join(follow)}' ;;" for words, follow in tables(root)
    )
    known = " ".join(f"'{words}'" for words, _ in tables(root) if words)
    values = "|".join(sorted({o for c in root.all() for o, takes, _ in c.options if takes}))
    return f"""# bash completion for {name}. Made by packaging/man/make.py from what --help says.
{function}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local command= word known words=
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
        for known in {known}; do
            [ "${{command:+$command }}$word" = "$known" ] && command=$known && break
        done
    done
    case $previous in
    {values})
        COMPREPLY=($(compgen -f -- "$current"))
        return
        ;;
    esac
    case $command in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
}}
complete -F {function} {name}
"""


def zsh(name, root):
    def quoted(text):
        return text.replace("'", "").replace("[", "(").replace("]", ")").replace(":", " ")

    def describe(command):
        lines = ["            _arguments \\"]
        for option, takes, text in command.options:
            several = "*" if "several times" in text else ""
            value = f":{option.lstrip('-')}:_files" if takes else ""
            lines.append(f"                '{several}{option}[{quoted(text)}]{value}' \\")
        lines.append("                '*:file:_files'")
        return "\n".join(lines)

    def cases(command):
        out = []
        for child in command.commands:
            if child.commands:
                for below in child.commands:
                    out.append(f"        '{' '.join(below.words)}')\n{describe(below)} ;;")
                names = " ".join(below.words[-1] for below in child.commands)
                out.append(f"        '{child.words[-1]} '*) compadd {names} ;;")
            else:
                out.append(f"        '{child.words[-1]}'*)\n{describe(child)} ;;")
        return "\n".join(out)

    names = "\n".join(
        f"            '{c.words[-1]}:{quoted(c.about.splitlines()[0])}'" for c in root.commands
    )
    flags = " ".join(option for option, _, _ in root.options)
    return f"""#compdef {name}
# Made by packaging/man/make.py from what --help says.
_{name.replace("-", "_")}() {{
    if ((CURRENT == 2)); then
        local -a commands=(
{names}
        )
        _describe command commands
        compadd -- {flags}
        return
    fi
    local command=$words[2]
    case $command in
    {"|".join(c.words[-1] for c in root.commands if c.commands) or "''"})
        ((CURRENT > 3)) && command="$words[2] $words[3]" && shift 2 words && ((CURRENT -= 2)) ||
            command="$words[2] "
        ;;
    *) shift words && ((CURRENT -= 1)) ;;
    esac
    case $command in
{cases(root)}
    esac
}}
_{name.replace("-", "_")} "$@"
"""


def fish(name, root):
    def quoted(text):
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = [f"# fish completion for {name}. Made by packaging/man/make.py from what --help says."]
    for command in root.all():
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.words)
        below = " ".join(child.words[-1] for child in command.commands)
        here = seen
        if below:
            unseen = f"not __fish_seen_subcommand_from {below}"
            here = f"{seen}; and {unseen}" if seen else unseen
        when = f" -n {quoted(here)}" if here else ""
        for child in command.commands:
            about = quoted(child.about.splitlines()[0])
            lines.append(f"complete -c {name} -f{when} -a {child.words[-1]} -d {about}")
        for option, takes, text in command.options:
            value = " -r" if takes else ""
            lines.append(
                f"complete -c {name}{when} -l {option.lstrip('-')}{value} -d {quoted(text)}"
            )
    return "\n".join(lines) + "\n"


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
    (folder / f"{name}.bash").write_text(bash(name, root))
    (folder / f"_{name}").write_text(zsh(name, root))
    (folder / f"{name}.fish").write_text(fish(name, root))


if __name__ == "__main__":
    main()
