/* What a plain socket is asked for, with one meaning everywhere: a count of bytes, or minus an
   errno. On Windows a socket is no descriptor: there the standard library does all of it. */

#ifndef BLOBREAD_WIRE_H
#define BLOBREAD_WIRE_H

#include <errno.h>
#include <stddef.h>

#ifdef _WIN32

#define BLOBREAD_HAS_WIRE 0

static long long wire_send(int fd, const char *from, size_t count) { return -ENOSYS; }
static long long wire_peek(int fd) { return -ENOSYS; }
static long long wire_receive(int fd, char *to, size_t count, int may_wait) { return -ENOSYS; }
static long long wire_drop(int fd, char *waste, size_t count) { return -ENOSYS; }
static int wire_wait(int fd, int milliseconds) { return -ENOSYS; }
static void wire_prepare(int fd) {}
static double wire_now(void) { return 0.0; }

#else

#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#define BLOBREAD_HAS_WIRE 1

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#ifdef __linux__
/* Of a TCP socket Linux drops bytes where they are; elsewhere they are copied to be forgotten. */
#define WIRE_DROP MSG_TRUNC
#else
#define WIRE_DROP 0
#endif

static long long wire_result(ssize_t result)
{
    if (result >= 0)
        return result;
    return errno == EWOULDBLOCK ? -EAGAIN : -(long long)errno;
}

static long long wire_send(int fd, const char *from, size_t count)
{
    return wire_result(send(fd, from, count, MSG_NOSIGNAL));
}

/* -EAGAIN is the one good answer: neither bytes nor a close are there. */
static long long wire_peek(int fd)
{
    char byte;

    return wire_result(recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT));
}

static long long wire_receive(int fd, char *to, size_t count, int may_wait)
{
    return wire_result(recv(fd, to, count, may_wait ? 0 : MSG_DONTWAIT));
}

static long long wire_drop(int fd, char *waste, size_t count)
{
    return wire_result(recv(fd, waste, count, WIRE_DROP | MSG_DONTWAIT));
}

/* 1: there is something to receive, be it a close or an error; 0: there was not, for so long. */
static int wire_wait(int fd, int milliseconds)
{
    struct pollfd one = {fd, POLLIN, 0};

    return (int)wire_result(poll(&one, 1, milliseconds));
}

/* A peer that hung up is an error of send(2), never a signal. */
static void wire_prepare(int fd)
{
#ifdef SO_NOSIGPIPE
    int yes = 1;

    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &yes, sizeof yes);
#endif
}

static double wire_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#endif
#endif
