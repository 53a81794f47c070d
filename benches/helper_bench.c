/*
 * How fast is a helper? Connections that each send READ KEYS and wait for the answer, again and again, driven by one
 * thread, so that on a small machine the client takes as little as it can from the helper.
 *
 *   helper_bench SOCKET DISK CONNECTIONS REQUESTS   ->   "requests/s p50 p99 max", times in microseconds
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 104, KEYS = 16, REPLY = HEADER + KEYS };

struct connection { int socket, left, got; double since; unsigned char reply[REPLY]; };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int dial(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    unsigned char features[4];
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (s < 0 || connect(s, (void *)&address, sizeof address)) err(1, "%s", path);
    if (recv(s, features, 4, MSG_WAITALL) != 4 || send(s, "\0\0\0", 4, MSG_NOSIGNAL) != 4) errx(1, "no handshake");
    return s;
}

static void ask(struct connection *c, int disk)
{
    static unsigned char cdb[16] = { 0x5e, 0, 0, 0, 0, 0, 0, 0x20, 0x00 };
    union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = { 0 };
    struct iovec bytes = { cdb, sizeof cdb };
    struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof disk);
    memcpy(CMSG_DATA(rights), &disk, sizeof disk);
    c->got = 0;
    c->since = now();
    if (sendmsg(c->socket, &message, MSG_NOSIGNAL) != sizeof cdb) err(1, "sendmsg");
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 5) errx(2, "usage: helper_bench SOCKET DISK CONNECTIONS REQUESTS");
    int count = atoi(argv[3]), each = atoi(argv[4]), disk = open(argv[2], O_RDWR), poll = epoll_create1(0);
    long total = (long)count * each, done = 0;
    struct connection *connections = calloc(count, sizeof *connections);
    double *took = calloc(total, sizeof *took), started;

    if (count < 1 || each < 1 || !connections || !took) errx(2, "nothing to do, or no memory for it");
    if (disk < 0) err(1, "%s", argv[2]);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &connections[i] };
        connections[i] = (struct connection){ .socket = dial(argv[1]), .left = each };
        epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].socket, &event);
    }
    started = now();
    for (int i = 0; i < count; i++) ask(&connections[i], disk);
    while (done < total) {
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, 10000);
        if (ready <= 0) errx(1, "no answer for 10 s, after %ld", done);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            ssize_t n = recv(c->socket, c->reply + c->got, REPLY - c->got, MSG_DONTWAIT);
            if (n <= 0) err(1, "the helper hung up, after %ld", done);
            if ((c->got += n) < REPLY) continue;
            if (c->reply[3] || c->reply[7] != KEYS) errx(1, "status %d, %d bytes", c->reply[3], c->reply[7]);
            took[done++] = now() - c->since;
            if (--c->left) ask(c, disk);
        }
    }
    double elapsed = now() - started;
    qsort(took, total, sizeof *took, ascending);
    printf("%.0f %.0f %.0f %.0f\n", total / elapsed * 1e6, took[total / 2], took[total * 99 / 100], took[total - 1]);
}
