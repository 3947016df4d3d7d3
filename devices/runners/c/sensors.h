/* Sensors are files with one number, such as those of hwmon. A thread of its own reads them at a fixed rate. */
#ifndef RUNNER_SENSORS_H
#define RUNNER_SENSORS_H

#include <stdint.h>

/* `text` is NAME=PATH and must live as long as the program; the program ends when it is none, or for too many. */
void sensors_add(char *text);

/* Begin to read all sensors every `period_ns`. Does nothing without sensors. */
void sensors_start(uint64_t period_ns);

/* Write what was read since the last call, one record for each sensor. Call it between windows only. */
void sensors_flush(void);

/* End the thread. */
void sensors_stop(void);

#endif
