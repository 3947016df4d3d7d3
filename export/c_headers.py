"""Names of headers that C libraries have, and include from one another: a part that is called so would hide one.

ISO C, POSIX, and the GNU C library's and newlib's own, of /usr/include.
"""

_NAMES = """
aio aliases alloca ar argp argz assert byteswap complex cpio crypt ctype devctl dirent dlfcn elf endian envlock envz
err errno error execinfo fastmath fcntl features fenv float fmtmsg fnmatch fstab fts ftw gconv getopt glob gmon grp
gshadow iconv ieeefp ifaddrs inttypes iso646 langinfo lastlog libgen libintl limits link locale malloc math mcheck
memory mntent monetary mqueue ndbm netdb newlib nl_types nss obstack paths poll printf proc_service pthread pty pwd
re_comp reent regdef regex regexp resolv sched search semaphore setjmp sgtty shadow signal spawn stab stdalign stdarg
stdatomic stdbool stddef stdfix stdint stdio stdio_ext stdlib stdnoreturn string strings stropts syscall sysexits
syslog tar termio termios tgmath thread_db threads time ttyent uchar ucontext ulimit unctrl unistd utime utmp utmpx
values varargs version wait wchar wctype wordexp
"""
C_HEADERS = frozenset(_NAMES.split())
