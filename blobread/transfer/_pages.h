/* Memory straight from the system and, when it is freed, straight back to it; NULL: there is none. */

#ifndef BLOBREAD_PAGES_H
#define BLOBREAD_PAGES_H

#include <stddef.h>

#ifdef _WIN32

#include <windows.h>

static void *blobread_take_pages(size_t size)
{
    return VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

static void blobread_give_pages(void *at, size_t size)
{
    (void)size;
    VirtualFree(at, 0, MEM_RELEASE);
}

#else

#include <sys/mman.h>

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

static void *blobread_take_pages(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

static void blobread_give_pages(void *at, size_t size)
{
    munmap(at, size);
}

#endif
#endif
