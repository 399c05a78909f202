#!/usr/bin/env python3
"""Writes what the Python package has from core/tables/*.def and weft.h:

bindings/python/swig/api.i                  prototypes and constants for SWIG
bindings/python/swig/structs.i              structs of weft.h as dicts
bindings/python/src/weft/_core.pyi          types of the module that SWIG makes
bindings/python/src/weft/_options.py        keyword arguments
bindings/python/src/weft/_error_table.py    exceptions
bindings/python/docs/options.md             the keyword arguments, for people

scripts/python_tables.py            writes what has changed
scripts/python_tables.py --check    writes nothing; says which are not current, and fails then
"""

import ast
import re
import sys
import textwrap
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import tables  # noqa: E402
import weft_header  # noqa: E402

PACKAGE = tables.ROOT / "bindings" / "python"
MADE = "Made by scripts/python_tables.py; `make generated` makes it anew."

# ---- weft.h for SWIG ------------------------------------------------------------------------------------------------

HANDLES = {"weft_config", "weft_engine", "weft_listener", "weft_conn", "weft_stream", "weft_pair"}
# Structs that functions fill in, and that Python sees as dicts.
FILLED = {
    "weft_conn_info",
    "weft_close",
    "weft_path",
    "weft_path_stats",
    "weft_stream_info",
    "weft_conn_stats",
    "weft_engine_stats",
    "weft_traffic",
}
# Functions that glue.h has in a better form, or that make no sense from Python.
LEFT_OUT = {
    "weft_stream_write",
    "weft_stream_open",
    "weft_connect",
    "weft_listen",
    "weft_engine_new",
    "weft_engine_free",
    "weft_engine_turn",
    "weft_engine_run",
    "weft_engine_stop",
    "weft_engine_fd",
    "weft_engine_deadline",
    "weft_conn_set_user",
    "weft_stream_set_user",
    "weft_listener_set_user",
    "weft_datagram_send",
    "weft_conn_path_news",
    "weft_pair_new",
    "weft_pair_set_link",
    "weft_stream_consume",
}
# Functions whose result is a number to look at; 0 comes as None.
COUNTS = {"weft_datagram_max", "weft_pair_step"}
PLAIN = {"int32_t", "uint32_t", "uint64_t", "uint16_t", "const char *"}
PYTHON = {"int32_t": "int", "uint32_t": "int", "uint64_t": "int", "uint16_t": "int", "const char *": "str | None"}


def c_type(kind):
    return kind.replace(" *", " *").strip()


def parameter(parameters, at):
    """(how api.i has the parameter, its Python type or None when it is not an argument, the result's type it adds, how many
    parameters it takes); None: no typemap knows it."""
    one = parameters[at]
    following = parameters[at + 1] if at + 1 < len(parameters) else None
    if one.type in PLAIN:
        return f"{one.type} {one.name}".replace("* ", "*"), PYTHON[one.type], None, 1
    if one.type in HANDLES:
        return f"{one.type} {one.name}", "int", None, 1
    if one.type == "const void *" and following and following.type == "size_t":
        return "const void *BYTES, size_t LEN", "Buffer", None, 2
    if one.type == "const uint8_t[32]":
        return "const uint8_t *SECRET", "Buffer", None, 1
    if one.type == "uint8_t[32]":
        return "uint8_t *DIGEST", None, "bytes", 1
    base = one.type.removesuffix(" *")
    if base in HANDLES:
        return f"{base} *{one.name}", None, "int", 1
    if base in FILLED:
        return f"{base} *{one.name}", None, "dict[str, Any]", 1
    if base in ("uint32_t", "uint64_t"):
        return f"{base} *OUT", None, "int", 1
    if base == "weft_addr" and not one.type.startswith("const"):
        return f"weft_addr *{one.name}", None, "str | None", 1
    return None


def parameters_of(function):
    """As above, for all of a function's; None: it is left out."""
    if function.name in LEFT_OUT or function.result not in (
        "int32_t",
        "uint32_t",
        "const char *",
        "weft_conn",
        "weft_engine",
    ):
        return None
    at, all_of_them = 0, []
    while at < len(function.parameters):
        one = parameter(function.parameters, at)
        if one is None:
            return None
        all_of_them.append((*one, function.parameters[at].name))
        at += one[3]
    return all_of_them


def wrapped(header):
    for function in header.of("function"):
        parameters = parameters_of(function)
        if parameters is not None:
            yield function, parameters


def api_i(header):
    lines = [f"/* {MADE} */", ""]
    for enum in header.of("enum"):
        lines += [re.sub(r"\s+", " ", enum.text)]
    lines += ["", "%constant unsigned long long WEFT_CODE_MAX = (1ULL << 62) - 1;"]
    lines += ["%constant unsigned int GLUE_EV_LOG = 256;", ""]
    for function, parameters in wrapped(header):
        result = function.result if function.result.endswith("*") else function.result + " "
        lines.append(f"{result}{function.name}({', '.join(one[0] for one in parameters) or 'void'});")
    return "\n".join(lines) + "\n"


NUMBERS = {"uint8_t", "uint16_t", "uint32_t", "uint64_t"}


def put(member):
    """The statement that puts a member into the dict, or None."""
    name, kind = member.name, member.type
    if name == "size" or name.startswith(("reserved", "pad")):
        return None
    if kind in NUMBERS:
        return f'put_number(dict, "{name}", s->{name})'
    if kind == "int32_t":
        return f'put_signed(dict, "{name}", s->{name})'
    if kind in HANDLES:
        return f'put_number(dict, "{name}", s->{name}.id)'
    if kind == "weft_addr":
        return f'put(dict, "{name}", address_of(&s->{name}))'
    if name == "reason":
        return 'put(dict, "reason", PyBytes_FromStringAndSize(s->reason, s->reason_len))'
    if re.fullmatch(r"char\[\d+\]", kind):
        return f'put(dict, "{name}", PyUnicode_DecodeUTF8(s->{name}, (Py_ssize_t)strlen(s->{name}), "replace"))'
    if kind in FILLED:
        return f'put(dict, "{name}", {kind}_dict(&s->{name}))'
    raise SystemExit(f"structs.i: {name} has a type that is not known: {kind}")


STRUCTS_HEAD = r"""%{
static void put(PyObject *dict, const char *name, PyObject *value) {
    if (value)
        PyDict_SetItemString(dict, name, value);
    Py_XDECREF(value);
}
static void put_number(PyObject *dict, const char *name, uint64_t value) {
    put(dict, name, PyLong_FromUnsignedLongLong(value));
}
static void put_signed(PyObject *dict, const char *name, int32_t value) { put(dict, name, PyLong_FromLong(value)); }
static PyObject *address_of(const weft_addr *address) {
    char text[WEFT_ADDR_TEXT];
    if (address->family && weft_addr_format(address, text, sizeof text) > 0)
        return PyUnicode_FromString(text);
    Py_INCREF(Py_None);
    return Py_None;
}
"""


def structs_i(header):
    lines = [f"/* {MADE} */", STRUCTS_HEAD.rstrip()]
    maps = []
    for struct in header.of("struct"):
        if struct.name not in FILLED:
            continue
        puts = [statement for statement in map(put, struct.members) if statement]
        lines.append(f"static PyObject *{struct.name}_dict(const {struct.name} *s) {{")
        lines.append("    PyObject *dict = PyDict_New();\n    if (!dict)\n        return NULL;")
        lines += [f"    {statement};" for statement in puts]
        lines.append(
            "    if (PyErr_Occurred()) {\n        Py_DECREF(dict);\n        return NULL;\n    }\n    return dict;\n}"
        )
        maps.append(
            f"%typemap(in, numinputs=0) {struct.name} * ({struct.name} made) {{\n"
            f"    memset(&made, 0, sizeof made);\n    made.size = sizeof made;\n    $1 = &made;\n}}\n"
            f"%typemap(argout) {struct.name} * {{ $result = glue_append($result, {struct.name}_dict($1)); }}"
        )
    maps.append(
        "%typemap(in, numinputs=0) weft_addr * (weft_addr made) {\n    memset(&made, 0, sizeof made);\n    $1 = &made;\n}\n"
        "%typemap(argout) weft_addr * { $result = glue_append($result, address_of($1)); }"
    )
    return "\n".join([*lines, "%}", "", *maps]) + "\n"


GLUE_STUBS = '''
Event = tuple[int, int, int, int, Any]
"""(type, connection, stream or listener or token, value, data)"""

def set_error_factory(factory: Callable[[int, str | None], BaseException]) -> None: ...
def set_forked() -> None: ...
def in_main_interpreter() -> int: ...
def engine_new(
    memory_limit: int, number: int, receive_buffer: int, send_buffer: int, fleet_secret: bytes | None
) -> Capsule: ...
def engine_free(glue: Capsule) -> None: ...
def engine_handle(glue: Capsule) -> int: ...
def turn(glue: Capsule) -> tuple[list[Event], int]: ...
def turn_blocking(glue: Capsule, timeout_ms: int) -> tuple[list[Event], int]: ...
def drain(glue: Capsule) -> tuple[list[Event], int]: ...
def engine_loans(glue: Capsule) -> int: ...
def engine_fd(glue: Capsule) -> int: ...
def engine_connect(
    glue: Capsule,
    config: int,
    host: str,
    port: int,
    family: int,
    server_name: str | None,
    session: bytes | None,
    token: bytes | None,
) -> int: ...
def engine_listen(glue: Capsule, config: int, address: str, flags: int) -> int: ...
def config_error(config: int) -> str: ...
def config_set_verify_callback(config: int, callback: Callable[[list[bytes], str | None, bool], int] | None) -> None: ...
def config_set_replay_callback(config: int, callback: Callable[[bytes, int], bool] | None) -> None: ...
def config_set_keylog_callback(config: int, callback: Callable[[str], object] | None) -> None: ...
def options() -> list[tuple[str, int, int, int, int, str, list[str]]]: ...
def conn_certificate(conn: int) -> bytes: ...
def conn_session(conn: int) -> bytes: ...
def conn_token(conn: int) -> bytes: ...
def conn_export(conn: int, label: str, context: bytes, len: int) -> bytes: ...
def conn_set_batch(conn: int, on: int) -> None: ...
def conn_path_news(conn: int) -> tuple[int, str, str] | None: ...
def datagram_send(conn: int, data: Buffer, token: int) -> int: ...
def stream_open(conn: int, direction: int) -> int: ...
def stream_read(stream: int, limit: int) -> tuple[bytes, bool] | None: ...
def stream_read_into(stream: int, buffer: Buffer, offset: int) -> tuple[int, bool] | None: ...
def stream_write(glue: Capsule, stream: int, data: Buffer, offset: int, flags: int) -> int: ...
def batch_open(glue: Capsule, conn: int, messages: Sequence[Buffer]) -> list[int]: ...
def batch_read(streams: list[int]) -> list[tuple[int, bytes, bool]]: ...
def batch_write(glue: Capsule, replies: Sequence[tuple[int, Buffer]]) -> list[int]: ...
def pair_new(
    seed: int, repeatable: int, forth: tuple[int, ...], back: tuple[int, ...]
) -> tuple[int, Capsule, Capsule]: ...
def pair_set_link(pair: int, from_: int, link: tuple[int, ...]) -> None: ...
'''


def core_pyi(header):
    lines = [
        f'"""The layer below the package: functions of weft.h and of swig/glue.h. {MADE}"""',
        "",
        "from collections.abc import Callable, Sequence",
        "from typing import Any",
        "",
        "from ._types import Buffer, Capsule",
        "",
        "WEFT_CODE_MAX: int",
        "GLUE_EV_LOG: int",
    ]
    for enum in header.of("enum"):
        lines += [f"{member.name}: int" for member in enum.members]
    lines.append(GLUE_STUBS.rstrip())
    for function, parameters in wrapped(header):
        keywords = {"from", "in", "is"}
        arguments = [
            f"{name}_: {kind}" if name in keywords else f"{name}: {kind}" for _, kind, _, _, name in parameters if kind
        ]
        added = [more for _, _, more, _, _ in parameters if more]
        if function.result == "const char *":
            added.insert(0, "str")
        elif function.result != "int32_t":
            added.insert(0, "int")
        elif not added and function.name in COUNTS:
            added = ["int | None"]
        result = "None" if not added else added[0] if len(added) == 1 else f"tuple[{', '.join(added)}]"
        lines.append(f"def {function.name}({', '.join(arguments)}) -> {result}: ...")
    return "\n".join(lines) + "\n"


# ---- options --------------------------------------------------------------------------------------------------------


def option_type(kind, choices):
    kind = tables.TYPES[int(kind)]
    if kind == "choice":
        return "Literal[" + ", ".join(f'"{one}"' for one in choices.split(",")) + "]"
    return {"time": "float | str", "bytes": "int | str", "count": "int", "flag": "bool"}[kind]


def option_range(kind, standard, least, greatest, choices):
    row = tables.option_row("", kind, standard, least, greatest, "", choices).split("|")
    return row[3].strip(), row[4].strip()


def options_py(rows):
    lines = [
        f'"""Keyword arguments of connect, serve and listen, one for each option of the core. {MADE}"""',
        "",
        "from typing import Literal, TypedDict",
        "",
        "",
        "class Options(TypedDict, total=False):",
        '    """Times are seconds, or texts with a unit ("250ms"); sizes are bytes, or texts with a unit ("4MiB")."""',
    ]
    for name, kind, standard, least, greatest, text, choices in rows:
        allowed, unless_set = option_range(kind, standard, least, greatest, choices)
        words = f"{text}. Allowed: {allowed}; unless set: {unless_set}.".replace("`", "")
        lines += ["", f"    {name}: {option_type(kind, choices)}"]
        lines += textwrap.wrap(
            f'"""{words[0].upper()}{words[1:]}"""', 116, initial_indent="    ", subsequent_indent="    "
        )
    times = [row[0] for row in rows if tables.TYPES[int(row[1])] == "time"]
    lines += ["", "", "TIMES = frozenset(", "    [", *(f'        "{name}",' for name in times), "    ]", ")"]
    lines += ['"""The options that are times: numbers for them are seconds, where the core has nanoseconds."""']
    return "\n".join(lines) + "\n"


def options_md(rows):
    lines = [
        f"<!-- {MADE} -->",
        "",
        "# Options as keyword arguments",
        "",
        "`weft.connect`, `weft.serve` and their blocking and trio counterparts take these by name. Times are seconds (`0.25`) or texts",
        'with a unit (`"250ms"`), sizes are bytes or texts (`"4MiB"`), flags are `True` and `False`, choices are texts. A name that does',
        "not exist is a `weft.OptionError`, a value out of range a `weft.ValueNotAllowedError`; both say what is allowed.",
        "",
        "| name | type | allowed | unless set | |",
        "|---|---|---|---|---|",
    ]
    for name, kind, standard, least, greatest, text, choices in rows:
        allowed, unless_set = option_range(kind, standard, least, greatest, choices)
        kind_text = (
            "`str`" if tables.TYPES[int(kind)] == "choice" else f"`{option_type(kind, choices)}`".replace("|", "or")
        )
        lines.append(f"| `{name}` | {kind_text} | {allowed} | {unless_set} | {text} |")
    return "\n".join(lines) + "\n"


# ---- errors ---------------------------------------------------------------------------------------------------------

# What an error is in Python's own terms, where there is such a thing.
BASES = {
    "INVALID": "ValueError",
    "NOMEM": "MemoryError",
    "HANDLE": "LookupError",
    "GONE": "LookupError",
    "STATE": "RuntimeError",
    "THREAD": "RuntimeError",
    "OPTION": "TypeError",
    "VALUE": "ValueError",
    "CLOSED": "ConnectionError",
    "STREAM_CLOSED": "ConnectionError",
    "BLOCKED": "BlockingIOError",
    "TOO_LARGE": "ValueError",
    "RESOLVE": "OSError",
    "ADDRESS": "ValueError",
    "IO": "OSError",
    "TLS": "ValueError",
    "CERTIFICATE": "ValueError",
    "UNSUPPORTED": "RuntimeError",
    "PROTOCOL": "ConnectionError",
    "TIMEOUT": "TimeoutError",
    "INTERNAL": "RuntimeError",
}
NAMES = {"IO": "IOFailedError", "TLS": "TLSError", "NOMEM": "OutOfMemoryError", "VALUE": "ValueNotAllowedError"}
NAMES |= {"TIMEOUT": "TimedOutError", "BLOCKED": "BlockedError"}


def class_name(name):
    return NAMES.get(name) or "".join(part.capitalize() for part in name.split("_")) + "Error"


def error_table_py(rows):
    lines = [
        f'"""The exceptions that stand for errors of the core. {MADE}"""',
        "",
        "",
        "class Error(Exception):",
        '    """Whatever goes wrong in weft; `number` is that of the core\'s error (docs/errors.md), 0: none of the core\'s."""',
        "",
        "    number: int = 0",
    ]
    for name, number, text in rows:
        bases = ["Error", BASES[name]] if name in BASES else ["Error"]
        lines += [
            "",
            "",
            f"class {class_name(name)}({', '.join(bases)}):",
            f'    """{text[0].upper()}{text[1:]}."""',
            "",
        ]
        lines.append(f"    number = {number}")
    lines += ["", "", "BY_CODE: dict[int, type[Error]] = {"]
    lines += [f"    {number}: {class_name(name)}," for name, number, _ in rows]
    lines += ["}", '"""The exception for each number."""']
    return "\n".join(lines) + "\n"


# ---- the reference, from the sources' docstrings --------------------------------------------------------------------

DOCUMENTED = {
    "connection.py": ["connect", "Connection"],
    "server.py": ["serve", "Server", "echo"],
    "stream.py": ["Stream"],
    "streams.py": ["StreamReader", "StreamWriter"],
    "errors.py": ["ConnectionClosed", "HandshakeError", "IdleTimeout", "StreamReset", "StreamStopped"],
    "_loop.py": ["Engine", "AsyncioEngine"],
    "blocking.py": ["connect", "serve", "Connection", "Stream", "Server", "Engine"],
    "trio.py": ["connect", "serve", "Engine"],
    "testing.py": ["Network"],
}


def signature(node):
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    text = ast.unparse(node.args)
    text = re.sub(r"^self(, )?", "", text)
    if any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list):
        return f"{node.name}: {ast.unparse(node.returns)}"
    prefix = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
    if prefix and any(isinstance(one, ast.Yield) for one in ast.walk(node)):
        prefix = "async for ... in "
    result = ast.unparse(node.returns) if node.returns else "None"
    return f"{prefix}{node.name}({text}) -> {result}"


def described(node):
    return " ".join((ast.get_docstring(node) or "").split())


def reference_md():
    lines = [f"<!-- {MADE} -->", "", "# Reference", "", "Errors of the core have classes of their own in `weft.errors`:"]
    lines += ["`_error_table.py` lists them. The options are in [options.md](options.md).", ""]
    for file, names in DOCUMENTED.items():
        tree = ast.parse((PACKAGE / "src" / "weft" / file).read_text(encoding="utf-8"))
        module = "weft" if file in ("connection.py", "server.py", "stream.py", "streams.py") else f"weft.{file[:-3]}"
        module = "weft" if file == "_loop.py" else module
        lines += [f"## {module}: {file}", "", described(tree), ""]
        top = {node.name: node for node in tree.body if hasattr(node, "name")}
        for name in names:
            node = top[name]
            lines += [f"### `{signature(node)}`", ""]
            if described(node):
                lines += [described(node), ""]
            for member in getattr(node, "body", []) if isinstance(node, ast.ClassDef) else []:
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_"):
                    text = described(member)
                    lines.append(f"- `{signature(member)}`" + (f": {text}" if text else ""))
            lines += [""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def files():
    header, rows = weft_header.read(), tables.read_tables()
    return {
        PACKAGE / "swig" / "api.i": api_i(header),
        PACKAGE / "swig" / "structs.i": structs_i(header),
        PACKAGE / "src" / "weft" / "_core.pyi": core_pyi(header),
        PACKAGE / "src" / "weft" / "_options.py": options_py(rows["option"]),
        PACKAGE / "src" / "weft" / "_error_table.py": error_table_py(rows["error"]),
        PACKAGE / "docs" / "options.md": options_md(rows["option"]),
        PACKAGE / "docs" / "reference.md": reference_md(),
    }


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    stale = [path for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
        print(f"{path.relative_to(tables.ROOT)}: {'not current; run `make generated`' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
