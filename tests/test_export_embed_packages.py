"""Packages: each form is compiled and run the way its build system would."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from export.arm_m import TARGET
from export.bundle import write_bundle
from export.bundle_read import Bundle, read_bundle
from export.embed.packages import FORMS, find_form, write_package
from export.embed.preprocess import code_table
from export.embed.sample import raw_of
from export.errors import ExportError
from quant.formats import find_format
from tests.bundles import plain_target, toy_spec
from tests.embedded import RGB, STRICT, bundle, spec

STRICT_CPP = ("-std=c++11", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
ENDING = "toy: 2 of 2 samples as expected\n"


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def call(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packed(folder: Path, form: str, made: Bundle | None = None, part: str | None = None) -> Path:
    """Write a package of a toy bundle; a zip is unpacked."""
    made = made or bundle(folder / "b", spec())
    write_package(made, find_form(form), folder / "package", part)
    if not find_form(form).zipped:
        return folder / "package"
    with zipfile.ZipFile(folder / "package") as archive:
        archive.extractall(folder / "unpacked")
    (only,) = (folder / "unpacked").iterdir()
    return only


@needs("cmake", "cc")
@pytest.mark.parametrize("act", ["int8", "e4m3"])
def test_cmake_builds_tests_installs_and_is_found(tmp_path, act):
    package = packed(tmp_path, "cmake", bundle(tmp_path / "b", spec(act=find_format(act))))
    call("cmake", "-S", ".", "-B", "build", f"-DCMAKE_INSTALL_PREFIX={tmp_path / 'installed'}", cwd=package)
    call("cmake", "--build", "build", "--target", "install", cwd=package)
    said = call("ctest", "--output-on-failure", "--no-tests=error", "-V", cwd=package / "build")
    assert "100% tests passed, 0 tests failed out of 2" in said and ENDING.strip() in said
    assert "toy: 8 of 8 vectors bit-exact" in said
    user = tmp_path / "user"
    user.mkdir()
    shutil.copytree(package / "example", user / "example")
    (user / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(user C)\nfind_package(toy 1.0.0 CONFIG REQUIRED)\n"
        "add_executable(user example/main.c)\ntarget_link_libraries(user PRIVATE toy::toy)\n"
    )
    call("cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={tmp_path / 'installed'}", cwd=user)
    call("cmake", "--build", "build", cwd=user)
    assert call(user / "build" / "user", cwd=user).endswith(ENDING)


@needs("cmake", "cc")
def test_cmake_makes_the_shared_library_of_the_python_file(tmp_path):
    package = packed(tmp_path, "cmake")
    call("cmake", "-S", ".", "-B", ".", "-DBUILD_SHARED_LIBS=ON", cwd=package)
    call("cmake", "--build", ".", "--target", "toy", cwd=package)
    program = "import numpy, toy_python; print(toy_python.Network().classify(numpy.zeros((6, 6, 3), numpy.uint8))[0])"
    assert call(sys.executable, "-c", program, cwd=package).strip() in toy_labels(tmp_path)


def toy_labels(folder: Path) -> tuple[str, ...]:
    return read_bundle(folder / "b").manifest.labels


ARDUINO_H = """
#include <stdint.h>
#include <stdio.h>
struct Stub {
    void begin(long) {}
    void print(const char *text) { fputs(text, stdout); }
    void print(unsigned long number) { printf("%lu", number); }
    void println(const char *text) { puts(text); }
};
static Stub Serial;
static unsigned long micros() { static unsigned long now; return now += 7; }
static void delay(unsigned long) {}
"""


@needs("gcc", "g++")
@pytest.mark.parametrize("act", ["int8", "e3m2"])
def test_the_arduino_library_compiles_and_its_sketch_runs(tmp_path, act):
    made = bundle(tmp_path / "b", spec(act=find_format(act)), resize="bilinear")
    library = packed(tmp_path, "arduino", made)
    properties = dict(line.split("=", 1) for line in (library / "library.properties").read_text().splitlines())
    assert library.name == properties["name"] == "toy"
    assert {"version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"} <= {
        *properties
    }
    assert (library / "src" / properties["includes"]).is_file()
    sketch = library / "examples" / "toy_example"
    assert not list((library / "src").glob("*_test.c"))
    sources = sorted((library / "src").glob("*.c"))
    call("gcc", *STRICT, "-O2", "-c", *sources, cwd=tmp_path)
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    (tmp_path / "main.cpp").write_text(
        f'#include "Arduino.h"\n#include "{sketch}/toy_example.ino"\nint main() {{ setup(); loop(); }}\n'
    )
    objects = [source.with_suffix(".o").name for source in sources]
    call("g++", *STRICT_CPP, f"-I{library / 'src'}", "main.cpp", *objects, "-o", "sketch", cwd=tmp_path)
    said = call(tmp_path / "sketch", cwd=tmp_path).splitlines()
    assert len(said) == 2 and all(line.endswith(", as expected, 7 us") for line in said)
    assert len({line.split(",")[0] for line in said}) == 2


@needs("gcc")
def test_an_arduino_zip_is_the_same_every_time(tmp_path):
    made = bundle(tmp_path / "b", spec())
    for name in ("first.zip", "second.zip"):
        write_package(made, find_form("arduino"), tmp_path / name)
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    with pytest.raises(ExportError, match="exists already"):
        write_package(made, find_form("arduino"), tmp_path / "first.zip")


#: Stand-ins for the commands of Zephyr's build system: what a module's CMakeLists.txt calls, as plain CMake.
ZEPHYR_CMAKE = """
cmake_minimum_required(VERSION 3.13)
project(shim C)
set(CONFIG_EDGEMILL_TOY {enabled})
macro(zephyr_include_directories)
  include_directories(${{ARGN}})
endmacro()
macro(zephyr_library_named name)
  set(ZEPHYR_CURRENT_LIBRARY ${{name}})
  add_library(${{name}} STATIC)
endmacro()
macro(zephyr_library_sources)
  target_sources(${{ZEPHYR_CURRENT_LIBRARY}} PRIVATE ${{ARGN}})
endmacro()
include({module}/CMakeLists.txt)
if(TARGET edgemill_toy)
  include_directories(stubs)
  add_executable(app {module}/samples/toy/src/main.c)
  target_link_libraries(app PRIVATE edgemill_toy)
endif()
"""


@needs("cmake", "cc")
def test_the_zephyr_module_builds_with_stand_ins_for_zephyrs_commands(tmp_path):
    """Zephyr itself is not executed here: structure, CMake and sources are."""
    module = packed(tmp_path, "zephyr")
    (tmp_path / "stubs" / "zephyr" / "sys").mkdir(parents=True)
    (tmp_path / "stubs" / "zephyr" / "kernel.h").write_text("")
    (tmp_path / "stubs" / "zephyr" / "sys" / "printk.h").write_text("#include <stdio.h>\n#define printk printf\n")
    # A relative source file belongs to the folder of its CMakeLists.txt, which `include` does not change.
    shutil.copytree(module, tmp_path, dirs_exist_ok=True)
    for enabled in ("ON", "OFF"):
        text = ZEPHYR_CMAKE.format(enabled=enabled, module=module)
        (tmp_path / "CMakeLists.txt").write_text(text)
        call("cmake", "-S", ".", "-B", f"build{enabled}", cwd=tmp_path)
        call("cmake", "--build", f"build{enabled}", cwd=tmp_path)
    assert call(tmp_path / "buildON" / "app", cwd=tmp_path).endswith(ENDING)
    assert not (tmp_path / "buildOFF" / "app").exists()


def test_the_zephyr_module_says_what_it_is(tmp_path):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    module = packed(tmp_path, "zephyr")
    described = yaml.safe_load((module / "zephyr" / "module.yml").read_text())
    assert described == {"name": "toy", "build": {"cmake": ".", "kconfig": "Kconfig"}, "samples": ["samples"]}
    assert (module / described["build"]["kconfig"]).is_file()
    sample = yaml.safe_load((module / "samples" / "toy" / "sample.yaml").read_text())
    assert sample["tests"]["edgemill.toy"]["harness_config"]["regex"] == [ENDING.strip()]
    option = (module / "Kconfig").read_text().split("config ")[1].split()[0]
    assert f"CONFIG_{option}=y" in (module / "samples" / "toy" / "prj.conf").read_text()
    assert f"if(CONFIG_{option})" in (module / "CMakeLists.txt").read_text()


@needs("arm-none-eabi-gcc")
def test_the_zephyr_sources_compile_for_a_cortex_m_with_zephyrs_flags(tmp_path):
    empty = ["arm-none-eabi-gcc", "-x", "c", "-include", "string.h", "-fsyntax-only", "/dev/null"]
    if subprocess.run(empty, capture_output=True, check=False).returncode != 0:
        pytest.skip("not installed: newlib's headers for arm-none-eabi-gcc")
    module = packed(tmp_path, "zephyr")
    flags = ("-std=c99", "-Os", "-ffreestanding", "-fno-common", "-ffunction-sections", "-fdata-sections", "-Wall",
             "-Wformat", "-Wno-format-zero-length", "-Wextra", "-Werror", "-mcpu=cortex-m4", "-mthumb",
             "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")  # fmt: skip
    sources = sorted((module / "src").glob("*.c"))
    assert len(sources) == 3
    call("arm-none-eabi-gcc", *flags, f"-I{module / 'include'}", "-c", *sources, cwd=tmp_path)


@needs("cc")
@pytest.mark.parametrize("part", ["head", "tail"])
def test_a_part_of_a_divided_network_is_packed_alone(tmp_path, part):
    made = write_bundle(tmp_path / "b", toy_spec(split=True), TARGET)
    with pytest.raises(ExportError, match="has the parts head, tail; say which one: --part head"):
        write_package(made, find_form("cmake"), tmp_path / "none")
    package = packed(tmp_path, "cmake", made, part)
    name = f"toy_{part}"
    sources = [path for path in package.glob("*.c") if not path.name.endswith("_test.c")]
    command = ["cc", *STRICT, f"-I{package}", "-Iexample", "example/main.c", *sources, "-o", "app"]
    call(*command, cwd=package)
    assert call(package / "app", cwd=package).endswith(f"{name}: 2 of 2 samples as expected\n")


def test_raw_samples_give_the_codes_of_the_vectors_they_come_from(tmp_path):
    part = bundle(tmp_path / "b", spec()).parts[0]
    quant = part.graph.quant("x")
    table = code_table(RGB, quant)
    raw, codes = raw_of(part.inputs, table, quant)
    assert np.array_equal(codes, part.inputs)
    for channel in range(3):
        assert np.array_equal(table[channel][raw[:, channel]], part.inputs[:, channel])


def test_what_cannot_be_packed_is_refused(tmp_path):
    plain = write_bundle(tmp_path / "plain", toy_spec(), plain_target())
    with pytest.raises(ExportError, match="is for plain; packages hold C"):
        write_package(plain, FORMS[0], tmp_path / "p")
    made = bundle(tmp_path / "b", spec())
    with pytest.raises(ExportError, match="has no part 'tail'; it has model"):
        write_package(made, FORMS[0], tmp_path / "p", "tail")
    with pytest.raises(ExportError, match="arduino"):
        find_form("arduno")
    (tmp_path / "mine").mkdir()
    with pytest.raises(ExportError, match="is not a package, so it is not overwritten"):
        write_package(made, FORMS[0], tmp_path / "mine", overwrite=True)
    assert list((tmp_path / "mine").iterdir()) == []
    (tmp_path / "mine.zip").write_text("mine")
    for path in (tmp_path / "mine.zip", tmp_path / "mine"):
        with pytest.raises(ExportError, match="is not a package, so it is not overwritten"):
            write_package(made, find_form("arduino"), path, overwrite=True)
    assert (tmp_path / "mine.zip").read_text() == "mine"
