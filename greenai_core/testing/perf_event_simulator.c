/* perf_event_open of a machine with known power, put before libc's by LD_PRELOAD.
 *
 * syscall(perf_event_open) is checked as Linux checks it for a PMU that only counts,
 * system-wide (kernel/events/core.c, arch/x86/events/rapl.c), and read(2) of what it gave
 * shows joules of CLOCK_MONOTONIC. Everything else goes to libc. What the machine is, and
 * what is wrong with it, stands in a file that perf_events.py maps and writes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_METERS 64
#define MAX_STEPS 32
#define MAX_OPEN 1024
#define SCALE 4294967296.0
#define UPDATE_S 1e-3

struct step { double at, watts; };

struct meter {
    uint32_t type, config;
    int32_t cpu, read_errno;
    double unit_j, start_j, falls_by_j;
    double stuck_at, reset_at;
    int32_t answer_bytes; /* -1: the count; 0: end of file; else so many bytes of it */
    uint32_t steps;
    struct step step[MAX_STEPS];
};

struct machine {
    uint32_t meters;
    int32_t paranoid, capable, open_errno;
    uint32_t opened, closed, reads, refused;
    struct meter meter[MAX_METERS];
};

/* As perf_event_attr, in the sizes from the first published on. */
struct attr {
    uint32_t type, size;
    uint64_t config, sample_period, sample_type, read_format, flags;
    uint32_t wakeup, bp_type;
    uint64_t config1;
};

enum { DISABLED = 1, CLOEXEC_FLAG = 8, KNOWN_FLAGS = 15 };
/* exclude_user, _kernel, _hv, _idle are bits 4 to 7; exclude_host and _guest, 19 and 20. */
#define EXCLUDED(flags) ((flags) & (0xF0ull | 3ull << 19))

static struct machine *machine;
static struct { int fd; const struct meter *meter; double since; int disabled; } open_fds[MAX_OPEN];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static long (*libc_syscall)(long, ...);
static ssize_t (*libc_read)(int, void *, size_t);
static int (*libc_close)(int);

static void begin(void)
{
    const char *path = getenv("GREENAI_PERF_SIMULATOR");
    int fd;

    libc_syscall = dlsym(RTLD_NEXT, "syscall");
    libc_read = dlsym(RTLD_NEXT, "read");
    libc_close = dlsym(RTLD_NEXT, "close");
    if (!path || (fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
        return;
    machine = mmap(NULL, sizeof *machine, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (machine == MAP_FAILED)
        machine = NULL;
    libc_close(fd);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double joules(const struct meter *m, double t)
{
    double sum = m->start_j;
    uint32_t n = __atomic_load_n(&m->steps, __ATOMIC_ACQUIRE);

    t = floor(t / UPDATE_S) * UPDATE_S;
    for (uint32_t i = 0; i < n; i++) {
        double until = i + 1 < n && m->step[i + 1].at < t ? m->step[i + 1].at : t;
        if (until > m->step[i].at)
            sum += m->step[i].watts * (until - m->step[i].at);
    }
    return sum;
}

static int64_t count(const struct meter *m, double since, double t)
{
    double reset = m->reset_at;
    if (reset > since)
        since = reset;
    if (t > m->stuck_at)
        t = m->stuck_at;
    int64_t steps = (int64_t)floor(joules(m, t) / m->unit_j);
    int64_t before = (int64_t)floor(joules(m, since) / m->unit_j);
    int64_t wraps = (steps >> 32) - (before >> 32);
    return (steps - before) * (int64_t)llround(m->unit_j * SCALE)
           - wraps * (int64_t)llround(m->falls_by_j * SCALE);
}

static int refuse(int code)
{
    __atomic_add_fetch(&machine->refused, 1, __ATOMIC_RELAXED);
    errno = code;
    return -1;
}

/* The order of the checks is the kernel's. */
static int check(struct attr *a, long pid, long cpu, long group, unsigned long flags,
                 const struct meter **found)
{
    int types = 0, events = 0;

    if (machine->open_errno)
        return machine->open_errno;
    if (flags & ~(unsigned long)KNOWN_FLAGS)
        return EINVAL;
    if (a->size && a->size < sizeof *a) {
        a->size = sizeof *a;
        return E2BIG;
    }
    if (machine->paranoid > 1 && !machine->capable)
        return EACCES;
    if (pid != -1 || cpu < 0) /* the PMU has no counters of a process */
        return EINVAL;
    if (group != -1)
        return EBADF;
    if (machine->paranoid > 0 && !machine->capable)
        return EACCES;
    for (uint32_t i = 0; i < machine->meters; i++) {
        const struct meter *m = &machine->meter[i];
        if (m->type != a->type)
            continue;
        types = 1;
        if (m->config != a->config)
            continue;
        events = 1;
        if (m->cpu == cpu)
            *found = m;
    }
    if (!types)
        return ENOENT;
    if (a->sample_period || EXCLUDED(a->flags) || !events)
        return EINVAL;
    if (a->read_format) /* the kernel would; this simulator shows one count alone */
        return EINVAL;
    return *found ? 0 : ENODEV;
}

static long open_event(struct attr *a, long pid, long cpu, long group, unsigned long flags)
{
    const struct meter *m = NULL;
    int code = check(a, pid, cpu, group, flags, &m), fd;

    if (code)
        return refuse(code);
    fd = eventfd(0, EFD_NONBLOCK | (flags & CLOEXEC_FLAG ? EFD_CLOEXEC : 0));
    if (fd < 0)
        return -1;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_OPEN; i++)
        if (!open_fds[i].meter) {
            open_fds[i].fd = fd;
            open_fds[i].since = now();
            open_fds[i].disabled = (a->flags & DISABLED) != 0;
            open_fds[i].meter = m;
            __atomic_add_fetch(&machine->opened, 1, __ATOMIC_RELAXED);
            pthread_mutex_unlock(&lock);
            return fd;
        }
    pthread_mutex_unlock(&lock);
    libc_close(fd);
    return refuse(EMFILE);
}

long syscall(long number, ...)
{
    long w[6];
    va_list list;

    pthread_once(&once, begin);
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        w[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_perf_event_open && machine)
        return open_event((struct attr *)w[0], w[1], w[2], w[3], (unsigned long)w[4]);
    return libc_syscall(number, w[0], w[1], w[2], w[3], w[4], w[5]);
}

static int slot(int fd)
{
    for (int i = 0; machine && i < MAX_OPEN; i++)
        if (open_fds[i].meter && open_fds[i].fd == fd)
            return i;
    return -1;
}

ssize_t read(int fd, void *buffer, size_t size)
{
    int i;

    pthread_once(&once, begin);
    if ((i = slot(fd)) < 0)
        return libc_read(fd, buffer, size);
    const struct meter *m = open_fds[i].meter;
    __atomic_add_fetch(&machine->reads, 1, __ATOMIC_RELAXED);
    if (m->read_errno || size < 8) {
        errno = m->read_errno ? m->read_errno : ENOSPC;
        return -1;
    }
    int64_t value = open_fds[i].disabled ? 0 : count(m, open_fds[i].since, now());
    size = m->answer_bytes < 0 ? 8 : (size_t)m->answer_bytes;
    memcpy(buffer, &value, size);
    return (ssize_t)size;
}

int close(int fd)
{
    int i;

    pthread_once(&once, begin);
    pthread_mutex_lock(&lock);
    if ((i = slot(fd)) >= 0) {
        open_fds[i].meter = NULL;
        __atomic_add_fetch(&machine->closed, 1, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&lock);
    return libc_close(fd);
}
