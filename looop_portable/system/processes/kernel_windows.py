"""Which Windows kernel this is: its identity, and the machine's name for people.

Guarantees: nothing of it is taken from the environment, which whoever starts a process makes up: %COMPUTERNAME% may have
another value, another case, or none.
Does not guarantee: that a machine which was cloned while it ran differs from its origin. What cannot be told (a sandbox may
refuse the registry) is empty, and proves nothing.
How: MachineGuid, made when Windows is installed, and when the kernel booted. A container has its host's kernel, boots with
it, and may have its image's MachineGuid, but sees its own processes alone: so its own name is told, too. It is the one that
was active when it booted (ActiveComputerName): a machine that is renamed stays the one that it is.
"""

from __future__ import annotations

import ctypes
import sys

assert sys.platform == "win32"

import winreg  # noqa: E402

_MACHINE = r"SOFTWARE\Microsoft\Cryptography"
_CONTROL = r"SYSTEM\CurrentControlSet\Control"
_TIME_OF_DAY = 3
_PHYSICAL_NETBIOS = 4
"""Without "physical", the variable _CLUSTER_NETWORK_NAME_ would be another name."""


def identity() -> str:
    """Of the kernel, since it booted; empty if it cannot be told."""
    machine, booted = _value(_MACHINE, "MachineGuid"), boot_time()
    if not machine or not booted:
        return ""
    container = _value(rf"{_CONTROL}\ComputerName\ActiveComputerName", "ComputerName") if _is_container() else ""
    return f"{machine} since {booted}{f' in {container}' if container else ''}"


def name() -> str:
    """The machine's, as %COMPUTERNAME% has it where nobody has changed that; empty if it cannot be told."""
    found = ctypes.create_unicode_buffer(256)
    length = ctypes.c_uint32(len(found))
    known = ctypes.windll.kernel32.GetComputerNameExW(_PHYSICAL_NETBIOS, found, ctypes.byref(length))
    return found.value if known else ""


def boot_time() -> int:
    """When the kernel booted, by the clock as it was then (100 ns since 1601); 0 if it does not tell.

    Without this, two processes would take each other for those of different kernels: psutil subtracts the uptime from the
    time of day, which differs from call to call, and moves when the clock is set. How: SYSTEM_TIMEOFDAY_INFORMATION (see
    NtQuerySystemInformation), whose boot time is moved with the clock, and which says by how much it has been.
    """
    fields = (ctypes.c_int64 * 6)()  # Boot time, time, time zone; two numbers of 32 bits; boot time's bias; sleep time's.
    query = ctypes.WinDLL("ntdll").NtQuerySystemInformation
    if query(_TIME_OF_DAY, ctypes.byref(fields), ctypes.sizeof(fields), None) != 0:
        return 0
    return fields[0] - fields[4]


def _is_container() -> bool:
    return _value(_CONTROL, "ContainerType") != ""


def _value(key: str, value: str) -> str:
    """Of the machine's registry, as a 64-bit process sees it: one of 32 bits has a view of its own. Empty: none."""
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as opened:
            return str(winreg.QueryValueEx(opened, value)[0])
    except OSError:
        return ""
