/*
 * The simulated boards: their configuration, their power and what follows from it.
 *
 * Included by nvml_simulator.c, which has the NVML entry points.
 */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4,
    NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, VERSION_MISMATCH = 25,
};
enum { MAX_BOARDS = 16, MAX_FAULTS = 16, MAX_MIG = 7, MAX_PROCESSES = 16, MAX_STEPS = 1024, TEXT = 96 };
enum { FIELD_ENERGY = 83, FIELD_POWER_AVERAGE = 185, FIELD_POWER_INSTANT = 186 };
enum { TYPE_UNSIGNED_INT = 1, TYPE_UNSIGNED_LONG_LONG = 3 };

enum { FORBIDDEN = 1, STUBBORN = 2, ZERO = 4 };

/* Shared with nvml.py; all times are CLOCK_MONOTONIC seconds. */
struct control {
    double lost_at;
    double frozen_at; /* energy and power stand still from then on */
    double reset_at;  /* the counter began again at 0 */
    double latency;   /* of each read of energy or power, beside the board's own */
    uint32_t limit_mw;
    uint32_t steps; /* written after the step itself, so no half-written one is read */
    uint32_t flags;
    int32_t code; /* of each call from now on; 0 for success */
    uint32_t floor_mw; /* lower limits are taken, and this one is kept; 0 for none */
    uint32_t locked_mhz; /* highest clock; 0 for none */
    struct { double time, watts; } step[MAX_STEPS];
};

struct fault { char where[TEXT]; int code; };

struct sample { unsigned pid; unsigned long long time_us; unsigned sm, memory, encoder, decoder; };

struct board;
struct device { struct board *board; int mig; };

struct board {
    char uuid[TEXT], name[TEXT], mig_uuid[MAX_MIG][TEXT];
    double update_period, phase, gain, counter_gain, power_period, power_seen, latency;
    double pulse_watts, pulse_period, pulse_duty, module_watts;
    unsigned long long start_mj, memory_total, memory_used, throttling, process_memory;
    unsigned low_mw, default_mw, high_mw, utilisation, temperature, clock_mhz, architecture;
    unsigned pci_device, process, usage_averages, mig_mode, memory_utilisation, memory_clock_mhz;
    unsigned module_scope, counts_module;
    int migs, faults, samples;
    struct sample sample[MAX_PROCESSES];
    struct fault fault[MAX_FAULTS];
    struct device self, instance[MAX_MIG];
    struct control *control;
};

static struct board boards[MAX_BOARDS];
static int board_count, global_faults;
static struct fault global_fault[MAX_FAULTS];
static char driver_version[TEXT];
static double origin;
static struct control *controls;
static volatile int initialised;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static double (*foreign_clock)(void);

static void (*foreign_sleep)(double);

/* Likewise: how time passes on that clock while a slow call is under way. */
void nvmlSimulatorSleep(void (*pass)(double)) { foreign_sleep = pass; }

static void pass_time(double seconds) {
    if (seconds <= 0) return;
    if (foreign_sleep) foreign_sleep(seconds);
    else usleep((useconds_t)(1e6 * seconds));
}

/* Lets a test bring a clock of its own; NULL for the system's. Not of NVML. */
void nvmlSimulatorClock(double (*clock)(void)) { foreign_clock = clock; }

static double now(void) {
    struct timespec t;
    if (foreign_clock) return foreign_clock();
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The simulated physics */

/* Not fmod: rounded otherwise than floor, it can count a pulse twice. */
static double since_pulse(const struct board *b, double t) {
    return t - floor(t / b->pulse_period) * b->pulse_period;
}

static double pulse_seconds(const struct board *b, double t) {
    double on = b->pulse_duty * b->pulse_period;
    return floor(t / b->pulse_period) * on + fmin(since_pulse(b, t), on);
}

/* Joules from the origin until t. */
static double energy(const struct board *b, double t) {
    if (t <= origin) return 0.0;
    double joules = b->pulse_watts * pulse_seconds(b, t - origin);
    uint32_t n = __atomic_load_n(&b->control->steps, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < n && b->control->step[i].time < t; i++) {
        double end = i + 1 < n ? fmin(b->control->step[i + 1].time, t) : t;
        joules += b->control->step[i].watts * (end - b->control->step[i].time);
    }
    return joules;
}

static double power(const struct board *b, double t) {
    double watts = 0.0;
    uint32_t n = __atomic_load_n(&b->control->steps, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < n && b->control->step[i].time <= t; i++)
        watts = b->control->step[i].watts;
    if (since_pulse(b, t - origin) < b->pulse_duty * b->pulse_period)
        watts += b->pulse_watts;
    return watts;
}

static double latched(double t, double period, double phase) {
    if (period <= 0.0) return t;
    return origin + phase + floor((t - origin - phase) / period) * period;
}

/* The instant whose figures a board shows. */
static double shown(const struct board *b) { return fmin(now(), b->control->frozen_at); }

static unsigned long long counter_mj(const struct board *b) {
    double t = latched(shown(b), b->update_period, b->phase), since = b->control->reset_at;
    double joules = energy(b, t) - (since > origin ? energy(b, fmin(since, t)) : 0.0);
    if (b->counts_module) joules += b->module_watts * fmax(t - fmax(since, origin), 0.0);
    if (b->control->flags & ZERO) return 0;
    return (since > origin ? 0 : b->start_mj) + (unsigned long long)(1e3 * b->gain * b->counter_gain * joules);
}

static unsigned instant_mw(const struct board *b) {
    double t = latched(shown(b), b->power_period, b->phase);
    double seen = b->power_seen;
    double watts = seen > 0 ? (energy(b, t) - energy(b, t - seen)) / seen : power(b, t);
    return b->control->flags & ZERO ? 0 : (unsigned)(1e3 * b->gain * watts);
}

static unsigned average_mw(const struct board *b) {
    double t = latched(shown(b), b->power_period, b->phase);
    double watts = b->control->flags & ZERO ? 0.0 : energy(b, t) - energy(b, t - 1.0);
    return (unsigned)(1e3 * b->gain * watts);
}

/* The configuration */

static void read_global(const char *key, char *value) {
    struct fault *f = &global_fault[global_faults];
    char path[4096];
    if (!strcmp(key, "driver_version")) snprintf(driver_version, TEXT, "%s", value);
    else if (!strcmp(key, "origin")) origin = atof(value);
    else if (!strcmp(key, "fail") && global_faults < MAX_FAULTS)
        global_faults += sscanf(value, "%95s %d", f->where, &f->code) == 2;
    else if (!strcmp(key, "control") && sscanf(value, "%4095[^\n]", path) == 1) {
        int file = open(path, O_RDWR);
        void *at = file < 0 ? MAP_FAILED : mmap(NULL, MAX_BOARDS * sizeof(struct control),
                                                PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        controls = at == MAP_FAILED ? NULL : at;
        if (file >= 0) close(file);
    }
}

static void read_board(struct board *b, const char *key, const char *value) {
    struct { const char *key; double *at; } reals[] = {
        {"update_period", &b->update_period}, {"phase", &b->phase}, {"gain", &b->gain},
        {"counter_gain", &b->counter_gain}, {"power_period", &b->power_period},
        {"power_seen", &b->power_seen}, {"latency", &b->latency},
        {"pulse_watts", &b->pulse_watts}, {"pulse_period", &b->pulse_period},
        {"pulse_duty", &b->pulse_duty}, {"module_watts", &b->module_watts},
    };
    struct { const char *key; unsigned *at; } counts[] = {
        {"low_mw", &b->low_mw}, {"default_mw", &b->default_mw}, {"high_mw", &b->high_mw},
        {"utilisation", &b->utilisation}, {"temperature", &b->temperature},
        {"clock_mhz", &b->clock_mhz}, {"architecture", &b->architecture},
        {"process", &b->process}, {"usage_averages", &b->usage_averages},
        {"mig_mode", &b->mig_mode}, {"pci_device", &b->pci_device},
        {"memory_utilisation", &b->memory_utilisation},
        {"memory_clock_mhz", &b->memory_clock_mhz},
        {"module_scope", &b->module_scope}, {"counts_module", &b->counts_module},
    };
    struct { const char *key; unsigned long long *at; } longs[] = {
        {"start_mj", &b->start_mj}, {"memory_total", &b->memory_total},
        {"memory_used", &b->memory_used}, {"throttling", &b->throttling},
        {"process_memory", &b->process_memory},
    };
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (!strcmp(key, reals[i].key)) *reals[i].at = atof(value);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (!strcmp(key, counts[i].key)) *counts[i].at = (unsigned)strtoul(value, NULL, 0);
    for (size_t i = 0; i < sizeof longs / sizeof *longs; i++)
        if (!strcmp(key, longs[i].key)) *longs[i].at = strtoull(value, NULL, 0);
    if (!strcmp(key, "name")) snprintf(b->name, TEXT, "%s", value);
    if (!strcmp(key, "mig_uuid") && b->migs < MAX_MIG) {
        b->instance[b->migs] = (struct device){b, b->migs};
        snprintf(b->mig_uuid[b->migs++], TEXT, "%s", value);
    }
    if (!strcmp(key, "process_share") && b->samples < MAX_PROCESSES) {
        struct sample *s = &b->sample[b->samples];
        b->samples += sscanf(value, "%u %u", &s->pid, &s->sm) == 2;
    }
    if (!strcmp(key, "fail") && b->faults < MAX_FAULTS) {
        struct fault *f = &b->fault[b->faults];
        b->faults += sscanf(value, "%95s %d", f->where, &f->code) == 2;
    }
}

static int configure(void) {
    const char *path = getenv("GREENAI_NVML_SIMULATOR");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[4400];
    if (!file) return DRIVER_NOT_LOADED;
    memset(boards, 0, sizeof boards);
    board_count = global_faults = 0;
    while (fgets(line, sizeof line, file)) {
        char *value = strchr(line, ' ');
        line[strcspn(line, "\n")] = 0;
        if (!value) continue;
        *value++ = 0;
        if (!strcmp(line, "board") && board_count < MAX_BOARDS && controls) {
            struct board *b = &boards[board_count];
            b->control = &controls[board_count++];
            b->self = (struct device){b, -1};
            snprintf(b->uuid, TEXT, "%s", value);
        } else if (board_count) read_board(&boards[board_count - 1], line, value);
        else read_global(line, value);
    }
    fclose(file);
    return controls ? SUCCESS : DRIVER_NOT_LOADED;
}
