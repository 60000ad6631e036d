/* Add to a counter that several threads count on; gives what it was before. */

#ifndef BLOBREAD_CLAIM_H
#define BLOBREAD_CLAIM_H

#ifdef _MSC_VER

#include <intrin.h>

static long blobread_claim(volatile long *next, long count)
{
    return _InterlockedExchangeAdd(next, count);
}

#else

static long blobread_claim(volatile long *next, long count)
{
    return __atomic_fetch_add(next, count, __ATOMIC_RELAXED);
}

#endif
#endif
