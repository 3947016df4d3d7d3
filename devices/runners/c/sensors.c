#include "sensors.h"

#include "records.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_SENSORS = 32, MOST_READINGS = 1 << 16, TEXT_BYTES = 64 };

typedef struct {
    const char *name, *path;
    int file;
    size_t count;
    uint64_t *times_ns;
    double *values;
} sensor_t;

static sensor_t sensors[MOST_SENSORS];
static size_t sensor_count;
static uint64_t period;
static atomic_bool running;
static pthread_t reader;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void sensors_add(char *text)
{
    char *split = strchr(text, '=');
    if (!split || sensor_count == MOST_SENSORS) {
        fail("a sensor is NAME=PATH, and there are at most 32");
    }
    *split = 0;
    sensors[sensor_count++] = (sensor_t){
        .name = text,
        .path = split + 1,
        .file = -1,
        .times_ns = reserve(MOST_READINGS, sizeof(uint64_t)),
        .values = reserve(MOST_READINGS, sizeof(double)),
    };
}

/* A file that is not there, cannot be read or holds no number gives no reading: the gap is the record. */
static int read_number(sensor_t *sensor, double *value)
{
    char text[TEXT_BYTES], *end;
    if (sensor->file < 0) {
        sensor->file = open(sensor->path, O_RDONLY | O_CLOEXEC);
    }
    const ssize_t size = sensor->file < 0 ? -1 : pread(sensor->file, text, sizeof text - 1, 0);
    if (size <= 0) {
        if (sensor->file >= 0) {
            close(sensor->file);
        }
        sensor->file = -1;
        return 0;
    }
    text[size] = 0;
    *value = strtod(text, &end);
    return end != text && (*end == '\n' || *end == 0) && isfinite(*value);
}

/* All readings of a round get one time, so that a voltage and a current can be multiplied. */
static void read_all(void)
{
    double values[MOST_SENSORS];
    int good[MOST_SENSORS];
    const uint64_t before = now_ns();
    for (size_t i = 0; i < sensor_count; i++) {
        good[i] = read_number(&sensors[i], &values[i]);
    }
    const uint64_t middle = before + (now_ns() - before) / 2;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < sensor_count; i++) {
        sensor_t *sensor = &sensors[i];
        if (good[i] && sensor->count < MOST_READINGS) {
            sensor->times_ns[sensor->count] = middle;
            sensor->values[sensor->count++] = values[i];
        }
    }
    pthread_mutex_unlock(&lock);
}

static void *read_on(void *unused)
{
    (void)unused;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (atomic_load(&running)) {
        read_all();
        const uint64_t ns = (uint64_t)next.tv_nsec + period;
        next.tv_sec += (time_t)(ns / 1000000000u);
        next.tv_nsec = (long)(ns % 1000000000u);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR) {
        }
    }
    return NULL;
}

void sensors_start(uint64_t period_ns)
{
    if (!sensor_count) {
        return;
    }
    period = period_ns ? period_ns : 1;
    atomic_store(&running, 1);
    if (pthread_create(&reader, NULL, read_on, NULL) != 0) {
        fail("the thread that reads sensors cannot be started");
    }
}

void sensors_flush(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < sensor_count; i++) {
        sensor_t *sensor = &sensors[i];
        if (!sensor->count) {
            continue;
        }
        record_begin("sensor");
        record_text("name", sensor->name);
        record_numbers("t_ns", sensor->times_ns, sensor->count);
        record_reals("values", sensor->values, sensor->count);
        record_end();
        sensor->count = 0;
    }
    pthread_mutex_unlock(&lock);
}

void sensors_stop(void)
{
    if (atomic_exchange(&running, 0)) {
        pthread_join(reader, NULL);
    }
}
