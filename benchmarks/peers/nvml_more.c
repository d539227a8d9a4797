/*
 * The simulated boards of greenai_core/testing, with the further NVML entry points
 * that the other tools call. The figures do not matter for energy.
 */
#include "nvml_simulator.c"

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    CALL(global(__func__));
    *version = 12040;
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion(int *version) {
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

int nvmlDeviceGetComputeMode(struct device *d, int *mode) {
    CALL(enter(d, __func__, 0));
    *mode = 0;
    return SUCCESS;
}

int nvmlDeviceGetPersistenceMode(struct device *d, int *mode) {
    CALL(enter(d, __func__, 0));
    *mode = 1;
    return SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(struct device *d, int type, unsigned *mhz) {
    (void)type;
    CALL(enter(d, __func__, 0));
    *mhz = d->board->clock_mhz;
    return SUCCESS;
}

/* Only Grace Hopper has this link. */
int nvmlDeviceGetC2cModeInfoV(struct device *d, void *info) {
    (void)info;
    CALL(enter(d, __func__, 0));
    return NOT_SUPPORTED;
}
