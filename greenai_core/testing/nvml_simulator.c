/*
 * The NVML entry points that greenai uses, on boards whose power is known.
 *
 * Built at test time as libnvidia-ml.so.1, so that nvidia-ml-py loads it in
 * place of the driver's library. GREENAI_NVML_SIMULATOR names a text file with
 * the boards (written by nvml.py, which documents each figure); what changes
 * while it runs (power, limits, a board that falls off the bus) is in a control
 * file that both sides map. Layouts and numbers are those of nvml.h.
 */
#include "nvml_simulated_boards.c"

/* What every call begins with */

static int planned(const struct fault *faults, int n, const char *where) {
    for (int i = 0; i < n; i++)
        if (!strcmp(faults[i].where, where)) return faults[i].code;
    return SUCCESS;
}

static int global(const char *call) {
    return initialised ? planned(global_fault, global_faults, call) : UNINITIALIZED;
}

static int enter(const struct device *d, const char *call, int also_mig) {
    int known = 0, code = global(call);
    if (code) return code;
    for (int i = 0; i < board_count; i++)
        known |= (const char *)d >= (char *)&boards[i] && (const char *)d < (char *)(&boards[i] + 1);
    if (!known) return INVALID_ARGUMENT;
    int reads = !strcmp(call, "nvmlDeviceGetTotalEnergyConsumption") ||
                !strcmp(call, "nvmlDeviceGetPowerUsage") || !strcmp(call, "nvmlDeviceGetFieldValues");
    pass_time(d->board->latency + (reads ? d->board->control->latency : 0.0));
    if (now() >= d->board->control->lost_at) return GPU_IS_LOST;
    if (d->board->control->code) return d->board->control->code;
    if (d->mig >= 0 && !also_mig) return NOT_SUPPORTED;
    return planned(d->board->fault, d->board->faults, call);
}

#define CALL(result) do { int code_ = (result); if (code_) return code_; } while (0)

static int copy(char *to, unsigned size, const char *from) {
    if (strlen(from) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return SUCCESS;
}

/* NVML: the library */

int nvmlSimulatorInitialised(void) { return initialised; } /* for tests; not of NVML */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    int code = initialised ? SUCCESS : configure();
    if (!code) code = planned(global_fault, global_faults, __func__);
    if (!code) initialised++;
    pthread_mutex_unlock(&lock);
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    int code = initialised ? SUCCESS : UNINITIALIZED;
    if (!code && --initialised == 0) {
        munmap(controls, MAX_BOARDS * sizeof(struct control));
        controls = NULL;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

const char *nvmlErrorString(int code) {
    return code == GPU_IS_LOST ? "GPU is lost" : code == SUCCESS ? "Success" : "Simulated error";
}

int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    CALL(global(__func__));
    return copy(text, size, driver_version);
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    CALL(global(__func__));
    *count = (unsigned)board_count;
    return SUCCESS;
}

/* NVML: handles and what they are */

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **device) {
    CALL(global(__func__));
    if (index >= (unsigned)board_count) return INVALID_ARGUMENT;
    *device = &boards[index].self;
    return enter(*device, __func__, 0);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, struct device **device) {
    CALL(global(__func__));
    for (int i = 0; i < board_count; i++) {
        if (!strcmp(uuid, boards[i].uuid)) *device = &boards[i].self;
        else {
            int m = 0;
            while (m < boards[i].migs && strcmp(uuid, boards[i].mig_uuid[m])) m++;
            if (m == boards[i].migs) continue;
            *device = &boards[i].instance[m];
        }
        return enter(*device, __func__, 1);
    }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(struct device *d, char *text, unsigned size) {
    CALL(enter(d, __func__, 1));
    return copy(text, size, d->mig < 0 ? d->board->uuid : d->board->mig_uuid[d->mig]);
}

int nvmlDeviceGetName(struct device *d, char *text, unsigned size) {
    CALL(enter(d, __func__, 1));
    return copy(text, size, d->board->name);
}

struct pci {
    char legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char id[32];
};

int nvmlDeviceGetPciInfo_v3(struct device *d, struct pci *pci) {
    CALL(enter(d, __func__, 0));
    unsigned bus = 1 + (unsigned)(d->board - boards);
    *pci = (struct pci){.bus = bus, .device_id = d->board->pci_device << 16 | 0x10de};
    snprintf(pci->legacy, sizeof pci->legacy, "0000:%02X:00.0", bus);
    snprintf(pci->id, sizeof pci->id, "00000000:%02X:00.0", bus);
    return SUCCESS;
}

/* A call that tells one figure of a board. */
#define FIGURE(call, type, expression) \
    int call(struct device *d, type *figure) { \
        CALL(enter(d, #call, 0)); \
        const struct board *b = d->board; \
        *figure = (expression); \
        return SUCCESS; \
    }

FIGURE(nvmlDeviceGetArchitecture, unsigned, b->architecture)
FIGURE(nvmlDeviceGetMaxMigDeviceCount, unsigned, b->mig_mode ? MAX_MIG : 0)

int nvmlDeviceGetMigMode(struct device *d, unsigned *current, unsigned *pending) {
    CALL(enter(d, __func__, 0));
    *current = *pending = d->board->mig_mode;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct device *d, unsigned index, struct device **mig) {
    CALL(enter(d, __func__, 0));
    if (index >= (unsigned)d->board->migs) return NOT_FOUND;
    *mig = &d->board->instance[index];
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct device *mig, struct device **device) {
    CALL(enter(mig, __func__, 1));
    if (mig->mig < 0) return INVALID_ARGUMENT;
    *device = &mig->board->self;
    return SUCCESS;
}

/* NVML: energy and power */

FIGURE(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, counter_mj(b))
FIGURE(nvmlDeviceGetPowerUsage, unsigned, b->usage_averages ? average_mw(b) : instant_mw(b))
FIGURE(nvmlDeviceGetPowerManagementLimit, unsigned, b->control->limit_mw)
FIGURE(nvmlDeviceGetEnforcedPowerLimit, unsigned, b->control->limit_mw)
FIGURE(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, b->default_mw)

int nvmlDeviceGetPowerManagementLimitConstraints(struct device *d, unsigned *low, unsigned *high) {
    CALL(enter(d, __func__, 0));
    *low = d->board->low_mw;
    *high = d->board->high_mw;
    return SUCCESS;
}

int nvmlDeviceSetPowerManagementLimit(struct device *d, unsigned limit_mw) {
    CALL(enter(d, __func__, 0));
    uint32_t flags = d->board->control->flags;
    if (flags & FORBIDDEN) return NO_PERMISSION;
    if (limit_mw < d->board->low_mw || limit_mw > d->board->high_mw) return INVALID_ARGUMENT;
    if (limit_mw < d->board->control->floor_mw) limit_mw = d->board->control->floor_mw;
    if (!(flags & STUBBORN)) d->board->control->limit_mw = limit_mw;
    return SUCCESS;
}

enum { CLOCK_STEP = 15, LOWEST_CLOCK = 210 };

int nvmlDeviceSetGpuLockedClocks(struct device *d, unsigned low_mhz, unsigned high_mhz) {
    CALL(enter(d, __func__, 0));
    if (d->board->control->flags & FORBIDDEN) return NO_PERMISSION;
    if (low_mhz > high_mhz || high_mhz > d->board->clock_mhz) return INVALID_ARGUMENT;
    d->board->control->locked_mhz = high_mhz;
    return SUCCESS;
}

int nvmlDeviceResetGpuLockedClocks(struct device *d) {
    CALL(enter(d, __func__, 0));
    if (d->board->control->flags & FORBIDDEN) return NO_PERMISSION;
    d->board->control->locked_mhz = 0;
    return SUCCESS;
}

int nvmlDeviceGetSupportedMemoryClocks(struct device *d, unsigned *count, unsigned *mhz) {
    CALL(enter(d, __func__, 0));
    unsigned room = *count;
    *count = 1;
    if (!room || !mhz) return INSUFFICIENT_SIZE;
    *mhz = d->board->memory_clock_mhz;
    return SUCCESS;
}

/* From the highest down, as drivers list them. */
int nvmlDeviceGetSupportedGraphicsClocks(struct device *d, unsigned memory_mhz, unsigned *count,
                                         unsigned *mhz) {
    CALL(enter(d, __func__, 0));
    unsigned room = *count;
    if (memory_mhz != d->board->memory_clock_mhz) return NOT_FOUND;
    *count = (d->board->clock_mhz - LOWEST_CLOCK) / CLOCK_STEP + 1;
    if (room < *count || !mhz) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *count; i++) mhz[i] = d->board->clock_mhz - i * CLOCK_STEP;
    return SUCCESS;
}

enum { GPU_SCOPE = 0, MODULE_SCOPE = 1 };

struct field {
    uint32_t id, scope;
    int64_t time_us, latency_us;
    int type, code;
    union { unsigned ui; unsigned long long ull; } value;
};

int nvmlDeviceGetFieldValues(struct device *d, int count, struct field *fields) {
    CALL(enter(d, __func__, 0));
    for (struct field *f = fields; f < fields + count; f++) {
        char where[TEXT];
        const struct board *b = d->board;
        unsigned module_mw = f->scope ? (unsigned)(1e3 * b->gain * b->module_watts) : 0;
        snprintf(where, sizeof where, f->scope ? "field:%u:%u" : "field:%u", f->id, f->scope);
        f->code = planned(b->fault, b->faults, where);
        f->type = f->id == FIELD_ENERGY ? TYPE_UNSIGNED_LONG_LONG : TYPE_UNSIGNED_INT;
        f->value.ull = 0;
        if (f->code) continue;
        if (f->scope > MODULE_SCOPE || (f->scope && !b->module_scope)) f->code = NOT_SUPPORTED;
        else if (f->id == FIELD_POWER_INSTANT) f->value.ui = instant_mw(b) + module_mw;
        else if (f->id == FIELD_POWER_AVERAGE) f->value.ui = average_mw(b) + module_mw;
        else if (f->id == FIELD_ENERGY && !f->scope) f->value.ull = counter_mj(b);
        else f->code = NOT_SUPPORTED;
    }
    return SUCCESS;
}

/* NVML: telemetry */

struct utilisation { unsigned gpu, memory; };
struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
struct temperature { unsigned version; int sensor, celsius; };
struct process { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; };

#define VERSION(type, number) (unsigned)(sizeof(struct type) | (number) << 24)
FIGURE(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, b->throttling)
FIGURE(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, b->throttling)

int nvmlDeviceGetUtilizationRates(struct device *d, struct utilisation *rates) {
    CALL(enter(d, __func__, 0));
    *rates = (struct utilisation){d->board->utilisation, d->board->memory_utilisation};
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(struct device *d, struct memory *memory) {
    CALL(enter(d, __func__, 0));
    const struct board *b = d->board;
    *memory = (struct memory){b->memory_total, b->memory_total - b->memory_used, b->memory_used};
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(struct device *d, struct memory_v2 *memory) {
    CALL(enter(d, __func__, 0));
    const struct board *b = d->board;
    if (memory->version != VERSION(memory_v2, 2)) return VERSION_MISMATCH;
    memory->total = b->memory_total;
    memory->used = b->memory_used;
    memory->reserved = 0;
    memory->free = b->memory_total - b->memory_used;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(struct device *d, int sensor, unsigned *celsius) {
    CALL(enter(d, __func__, 0));
    *celsius = d->board->temperature;
    return sensor == 0 ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetTemperatureV(struct device *d, struct temperature *temperature) {
    CALL(enter(d, __func__, 0));
    if (temperature->version != VERSION(temperature, 1)) return VERSION_MISMATCH;
    temperature->celsius = (int)d->board->temperature;
    return temperature->sensor == 0 ? SUCCESS : INVALID_ARGUMENT;
}

enum { MEMORY_CLOCK = 2 };

int nvmlDeviceGetClockInfo(struct device *d, int type, unsigned *mhz) {
    CALL(enter(d, __func__, 0));
    *mhz = type == MEMORY_CLOCK ? d->board->memory_clock_mhz : d->board->clock_mhz;
    return type >= 0 && type < 4 ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetComputeRunningProcesses_v3(struct device *d, unsigned *count,
                                            struct process *processes) {
    CALL(enter(d, __func__, 0));
    const struct board *b = d->board;
    unsigned room = *count;
    *count = b->process ? 1 : 0;
    if (*count > room) return INSUFFICIENT_SIZE;
    if (*count) *processes = (struct process){b->process, b->process_memory, ~0u, ~0u};
    return SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(struct device *d, unsigned *count,
                                             struct process *processes) {
    (void)processes;
    CALL(enter(d, __func__, 0));
    *count = 0;
    return SUCCESS;
}

/* One sample for each process and second in which it used the board, as drivers give them. */
int nvmlDeviceGetProcessUtilization(struct device *d, struct sample *samples, unsigned *count,
                                    unsigned long long last_seen_us) {
    CALL(enter(d, __func__, 0));
    const struct board *b = d->board;
    unsigned room = *count;
    unsigned long long time_us = 1000000ull * (unsigned long long)floor(now());
    if (b->mig_mode) return NOT_SUPPORTED;
    if (!b->samples || time_us <= last_seen_us) return NOT_FOUND;
    *count = (unsigned)b->samples;
    if (!samples || room < *count) return INSUFFICIENT_SIZE;
    memcpy(samples, b->sample, *count * sizeof *samples);
    for (unsigned i = 0; i < *count; i++) samples[i].time_us = time_us;
    return SUCCESS;
}
