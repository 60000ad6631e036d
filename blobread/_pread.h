/* Read at a position, moving no cursor: pread(2), or its like on Windows.
   Gives the count of bytes, 0 at the end of the file, or minus an errno. */

#ifndef BLOBREAD_PREAD_H
#define BLOBREAD_PREAD_H

#include <errno.h>
#include <stddef.h>

#ifdef _WIN32

#include <io.h>
#include <windows.h>

static long long blobread_pread(int fd, void *to, size_t count, long long offset)
{
    HANDLE file = (HANDLE)_get_osfhandle(fd);
    OVERLAPPED at = {0};
    DWORD got = 0;

    if (file == INVALID_HANDLE_VALUE)
        return -EBADF;
    at.Offset = (DWORD)((unsigned long long)offset & 0xffffffffu);
    at.OffsetHigh = (DWORD)((unsigned long long)offset >> 32);
    if (ReadFile(file, to, (DWORD)count, &got, &at))
        return (long long)got;
    switch (GetLastError()) {
    case ERROR_HANDLE_EOF:
        return 0;
    case ERROR_ACCESS_DENIED:
    case ERROR_LOCK_VIOLATION:
        return -EACCES;
    case ERROR_INVALID_HANDLE:
        return -EBADF;
    default:
        return -EIO;
    }
}

#else

#include <unistd.h>

static long long blobread_pread(int fd, void *to, size_t count, long long offset)
{
    ssize_t got = pread(fd, to, count, (off_t)offset);

    return got < 0 ? -(long long)errno : (long long)got;
}

#endif
#endif
