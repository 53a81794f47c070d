/*
 * A SCSI disk for machines that have none.
 *
 * Preloaded into a helper, this library turns chosen files into devices: every stat of such a file says
 * "block device" (or "character device"), and SG_IO on it is answered here, from canned bytes or with a fault.
 * It is not a model of a logical unit: a REGISTER changes nothing. What it is good for is showing what reaches
 * the device, and what a helper makes of each way in which a command can end.
 *
 *   SHIM_DEVICES  which files: "INODE=b8:240 INODE=c21:240 ..." (inode numbers, decimal; b block, c character)
 *   SHIM_LOG      a file that gets one line for each SG_IO, with the first 24 bytes of PR OUT data
 *   SHIM_TARGET   a socket; PERSISTENT RESERVE commands are answered there instead, in the format of `exchange`
 *   SHIM_CONTROL  a file of NAME=value lines, read at each SG_IO, that override the environment for what follows
 *
 * Faults, for PERSISTENT RESERVE IN and OUT only:
 *   SHIM_ONLY           MAJOR:MINOR of the one device that has the fault (default: all of them)
 *   SHIM_DELAY_US       sleep this long first
 *   SHIM_ERRNO          the ioctl itself fails
 *   SHIM_HOST_STATUS, SHIM_DRIVER_STATUS, SHIM_STATUS, SHIM_SENSE (hex)
 *                       the command ends so, and no data is moved
 *   SHIM_RESID          the command succeeds, and this residual is reported instead of the true one
 * Numbers may be decimal, 0x hexadecimal or 0 octal.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <scsi/sg.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "written for 64-bit systems");

enum { PR_IN = 0x5e, PR_OUT = 0x5f };

/* The C library's own function, looked up at its first use: the preloaded process may stat before our constructor. */
#define REAL(name) ({                                              \
        static __typeof__(&name) real_;                            \
        if (!real_) real_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        real_; })

/* ---- which files are devices ------------------------------------------------------------------------------- */

struct device { unsigned long inode; mode_t type; unsigned major, minor; };

static struct device devices[16];
static int device_count;
static int log_fd = -1;

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("SHIM_DEVICES"), *log = getenv("SHIM_LOG");
    char kind;
    int used;
    struct device d;

    while (text && device_count < 16 &&
           sscanf(text, " %lu=%c%u:%u%n", &d.inode, &kind, &d.major, &d.minor, &used) == 4) {
        d.type = kind == 'b' ? S_IFBLK : S_IFCHR;
        devices[device_count++] = d;
        text += used;
    }
    if (log) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Only regular files are replaced, so that an inode number that recurs elsewhere in /dev or /proc does no harm. */
static const struct device *device_of(mode_t mode, unsigned long inode)
{
    for (int i = 0; S_ISREG(mode) && i < device_count; i++)
        if (devices[i].inode == inode) return &devices[i];
    return NULL;
}

/* ---- stat, in all its spellings: Rust's std calls statx, nix calls fstat, C calls fstat64 ---------------------- */

static int patch(int result, struct stat *st)
{
    const struct device *d = result == 0 ? device_of(st->st_mode, st->st_ino) : NULL;
    if (d) {
        st->st_mode = (st->st_mode & ~S_IFMT) | d->type;
        st->st_rdev = makedev(d->major, d->minor);
        st->st_size = 0;
    }
    return result;
}

int fstat(int fd, struct stat *st) { return patch(REAL(fstat)(fd, st), st); }
int stat(const char *path, struct stat *st) { return patch(REAL(stat)(path, st), st); }
int lstat(const char *path, struct stat *st) { return patch(REAL(lstat)(path, st), st); }
int fstatat(int fd, const char *path, struct stat *st, int flags) { return patch(REAL(fstatat)(fd, path, st, flags), st); }
int fstat64(int fd, struct stat64 *st) { return patch(REAL(fstat64)(fd, st), (struct stat *)st); }
int stat64(const char *path, struct stat64 *st) { return patch(REAL(stat64)(path, st), (struct stat *)st); }
int lstat64(const char *path, struct stat64 *st) { return patch(REAL(lstat64)(path, st), (struct stat *)st); }
int fstatat64(int fd, const char *path, struct stat64 *st, int flags)
{
    return patch(REAL(fstatat64)(fd, path, st, flags), (struct stat *)st);
}

int statx(int fd, const char *path, int flags, unsigned mask, struct statx *st)
{
    int result = REAL(statx)(fd, path, flags, mask | STATX_TYPE | STATX_INO, st);
    const struct device *d = result == 0 ? device_of(st->stx_mode, st->stx_ino) : NULL;
    if (d) {
        st->stx_mode = (st->stx_mode & ~S_IFMT) | d->type;
        st->stx_rdev_major = d->major;
        st->stx_rdev_minor = d->minor;
        st->stx_size = 0;
    }
    return result;
}

/* ---- the fault of the moment ------------------------------------------------------------------------------------ */

struct fault { char only[32], sense[256]; long delay_us, error, host, driver, status, resid; };

static void setting(struct fault *f, const char *name, const char *value)
{
    static const struct { const char *name; size_t at; } numbers[] = {
        { "DELAY_US", offsetof(struct fault, delay_us) }, { "ERRNO", offsetof(struct fault, error) },
        { "HOST_STATUS", offsetof(struct fault, host) },  { "DRIVER_STATUS", offsetof(struct fault, driver) },
        { "STATUS", offsetof(struct fault, status) },     { "RESID", offsetof(struct fault, resid) },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(name, numbers[i].name)) *(long *)((char *)f + numbers[i].at) = strtol(value, NULL, 0);
    if (!strcmp(name, "ONLY")) snprintf(f->only, sizeof f->only, "%s", value);
    if (!strcmp(name, "SENSE")) snprintf(f->sense, sizeof f->sense, "%s", value);
}

static void load(struct fault *f)
{
    static const char *const names[] = { "ONLY", "DELAY_US", "ERRNO", "HOST_STATUS", "DRIVER_STATUS", "STATUS", "SENSE", "RESID" };
    char text[1024], variable[32], *line, *rest = text, *control = getenv("SHIM_CONTROL"), *value;
    int fd;
    ssize_t got;

    *f = (struct fault){ .error = -1, .host = -1, .driver = -1, .status = -1, .resid = -1 };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(variable, sizeof variable, "SHIM_%s", names[i]);
        if ((value = getenv(variable))) setting(f, names[i], value);
    }
    if (!control || (fd = open(control, O_RDONLY | O_CLOEXEC)) < 0) return;
    got = read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = 0;
    while ((line = strsep(&rest, "\n")))
        if (!strncmp(line, "SHIM_", 5) && (value = strchr(line, '='))) {
            *value++ = 0;
            setting(f, line + 5, value);
        }
}

/* ---- SG_IO -------------------------------------------------------------------------------------------------------- */

static void note(const struct device *d, const sg_io_hdr_t *h)
{
    char line[256];
    int n = snprintf(line, sizeof line, "dev=%u:%u cmd_len=%u dir=%d dxfer_len=%u timeout=%u cdb=", d->major, d->minor,
                     h->cmd_len, h->dxfer_direction, h->dxfer_len, h->timeout);
    for (int i = 0; i < h->cmd_len && i < 16; i++) n += snprintf(line + n, sizeof line - n, "%02x", h->cmdp[i]);
    if (h->cmdp[0] == PR_OUT) n += snprintf(line + n, sizeof line - n, " data=");
    for (unsigned i = 0; h->cmdp[0] == PR_OUT && i < h->dxfer_len && i < 24; i++)
        n += snprintf(line + n, sizeof line - n, "%02x", ((unsigned char *)h->dxferp)[i]);
    line[n++] = '\n';
    if (log_fd >= 0 && write(log_fd, line, n) < 0) abort(); /* a test that reads a cut log would mislead */
}

static int hex_bytes(const char *hex, unsigned char *out, int room)
{
    int n = 0;
    unsigned byte;
    while (n < room && sscanf(hex + 2 * n, "%2x", &byte) == 1) out[n++] = byte;
    return n;
}

static void move_in(sg_io_hdr_t *h, const unsigned char *data, unsigned length, unsigned allocation)
{
    if (length > allocation) length = allocation;
    if (length > h->dxfer_len) length = h->dxfer_len;
    memcpy(h->dxferp, data, length);
    h->resid = h->dxfer_len - length;
}

static void end_with_sense(sg_io_hdr_t *h, const unsigned char *sense, int length)
{
    if (length > h->mx_sb_len) length = h->mx_sb_len;
    if (h->sbp) memcpy(h->sbp, sense, length);
    h->sb_len_wr = length;
    h->status = 0x02;
    h->masked_status = 0x01;
    h->driver_status = 0x08; /* what the kernel says beside a CHECK CONDITION */
    h->resid = h->dxfer_len;
}

/* One registrant, key deadbeef01020304, that holds a reservation of type 5; PRgeneration 7. */
#define KEY 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4
static const unsigned char read_keys[] = { 0, 0, 0, 7, 0, 0, 0, 8, KEY };
static const unsigned char read_reservation[] = { 0, 0, 0, 7, 0, 0, 0, 16, KEY, 0, 0, 0, 0, 0, 5, 0, 0 };
static const unsigned char report_capabilities[] = { 0, 8, 0x0d, 0x81, 0xea, 1, 0, 0 };
static const unsigned char read_full_status[] = {
    0, 0, 0, 7, 0, 0, 0, 48, KEY, 0, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 24,
    0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0, 0xe0, 0x8b, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, /* a Fibre Channel TransportID */
};
static const unsigned char invalid_opcode[18] = { 0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0 };
static const unsigned char invalid_field[18] = { 0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0 };
static const unsigned char inquiry[36] = "\0\0\6\2\37\0\0\2" "RESERVD SHIM DISK       0001";

static void persistent_reserve_in(sg_io_hdr_t *h)
{
    unsigned allocation = h->cmdp[7] << 8 | h->cmdp[8];
    switch (h->cmdp[1] & 0x1f) {
    case 0: move_in(h, read_keys, sizeof read_keys, allocation); break;
    case 1: move_in(h, read_reservation, sizeof read_reservation, allocation); break;
    case 2: move_in(h, report_capabilities, sizeof report_capabilities, allocation); break;
    case 3: move_in(h, read_full_status, sizeof read_full_status, allocation); break;
    default: end_with_sense(h, invalid_field, sizeof invalid_field);
    }
}

/* ---- a target elsewhere, which goes on when this process is killed ------------------------------------------------ */

struct question { unsigned major, minor, in, length, timeout; unsigned char cdb[16]; };
struct answer { unsigned host, driver, status, sense_length, length; unsigned char sense[96]; };

static int all(ssize_t (*move)(int, void *, size_t), int fd, void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = move(fd, (char *)bytes + done, length - done);
        if (n <= 0) return -1;
        done += n;
    }
    return 0;
}

static ssize_t put(int fd, void *bytes, size_t length) { return send(fd, bytes, length, MSG_NOSIGNAL); }
static ssize_t get(int fd, void *bytes, size_t length) { return recv(fd, bytes, length, 0); }

/* A question with its data, an answer with its data, one connection each. */
static int exchange(int fd, const struct device *d, sg_io_hdr_t *h)
{
    int in = h->dxfer_direction == SG_DXFER_FROM_DEV;
    struct question q = { d->major, d->minor, in, h->dxfer_len, h->timeout, { 0 } };
    struct answer a;

    memcpy(q.cdb, h->cmdp, h->cmd_len < 16 ? h->cmd_len : 16);
    if (all(put, fd, &q, sizeof q) || (!in && all(put, fd, h->dxferp, h->dxfer_len))) return -1;
    if (all(get, fd, &a, sizeof a) || a.length > h->dxfer_len || all(get, fd, h->dxferp, a.length)) return -1;
    h->resid = in ? h->dxfer_len - a.length : 0;
    if (a.sense_length) end_with_sense(h, a.sense, a.sense_length);
    h->host_status = a.host, h->driver_status |= a.driver;
    h->status = a.status, h->masked_status = a.status >> 1 & 0x1f;
    return 0;
}

static void ask_target(const char *path, const struct device *d, sg_io_hdr_t *h)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    /* DID_NO_CONNECT where nothing was sent, DID_TIME_OUT where nobody knows. */
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) h->host_status = 1;
    else if (exchange(fd, d, h)) h->host_status = 3;
    if (fd >= 0) close(fd);
}

static int sg_io(const struct device *d, sg_io_hdr_t *h)
{
    struct fault f;
    char name[32];
    unsigned char sense[128];
    int sense_length;

    note(d, h);
    h->status = h->masked_status = h->msg_status = h->sb_len_wr = 0;
    h->host_status = h->driver_status = h->resid = h->duration = h->info = 0;

    load(&f);
    snprintf(name, sizeof name, "%u:%u", d->major, d->minor);
    if ((h->cmdp[0] == PR_IN || h->cmdp[0] == PR_OUT) && (!*f.only || !strcmp(f.only, name))) {
        sense_length = hex_bytes(f.sense, sense, sizeof sense);
        if (f.delay_us) nanosleep(&(struct timespec){ f.delay_us / 1000000, f.delay_us % 1000000 * 1000 }, NULL);
        if (f.error > 0) return errno = f.error, -1;
        if (sense_length) end_with_sense(h, sense, sense_length);
        if (f.status >= 0) h->status = f.status, h->masked_status = f.status >> 1 & 0x1f;
        if (f.host >= 0) h->host_status = f.host;
        if (f.driver >= 0) h->driver_status = f.driver;
        if (sense_length || f.status > 0 || f.host > 0 || f.driver > 0) {
            h->resid = h->dxfer_len;
            return 0;
        }
    } else {
        f.resid = -1;
    }

    char *target = getenv("SHIM_TARGET");
    if (target && (h->cmdp[0] == PR_IN || h->cmdp[0] == PR_OUT)) return ask_target(target, d, h), 0;

    switch (h->cmdp[0]) {
    case 0x00: break; /* TEST UNIT READY */
    case 0x12: /* INQUIRY, no vital product data */
        if (h->cmdp[1] & 1) end_with_sense(h, invalid_field, sizeof invalid_field);
        else move_in(h, inquiry, sizeof inquiry, h->cmdp[3] << 8 | h->cmdp[4]);
        break;
    case PR_IN: persistent_reserve_in(h); break;
    case PR_OUT: break;
    default: end_with_sense(h, invalid_opcode, sizeof invalid_opcode);
    }
    if (f.resid >= 0) h->resid = f.resid;
    return 0;
}

#define BLKROGET_ 0x125eu /* linux/fs.h: is the device read-only? */
#define BLKGETDISKSEQ_ 0x80081280u /* linux/fs.h, since 5.15: which disk this number stands for now */

int ioctl(int fd, unsigned long request, ...)
{
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);

    struct stat st;
    const struct device *d = NULL;
    unsigned number = request;
    int wanted = number >> 8 == 0x22 || number == BLKGETDISKSEQ_ || number == BLKROGET_;
    if (wanted && REAL(fstat)(fd, &st) == 0) d = device_of(st.st_mode, st.st_ino);
    /* An O_PATH descriptor takes no ioctl (EBADF), and a loop device no SG_IO (ENOTTY): let the kernel say so. */
    if (!d || (fcntl(fd, F_GETFL) & O_PATH) || d->major == 7) return REAL(ioctl)(fd, request, argument);
    switch (number) {
    case BLKROGET_: return *(int *)argument = 0, 0;
    case SG_IO: return sg_io(d, argument);
    case SG_GET_VERSION_NUM: return *(int *)argument = 30536, 0;
    case BLKGETDISKSEQ_: return *(unsigned long long *)argument = st.st_ino, 0;
    default: return REAL(ioctl)(fd, request, argument);
    }
}
