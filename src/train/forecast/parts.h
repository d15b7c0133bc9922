/* What the files of `lockstep plan` share. Private to src/train/forecast. */
#ifndef LOCKSTEP_TRAIN_FORECAST_PARTS_H
#define LOCKSTEP_TRAIN_FORECAST_PARTS_H

#include "lockstep/forecast.h"

/* Trains for some seconds, or takes what is given. Arrays of the profile are to be freed by
 * profile_free, also after an error. Collective. */
bool profile_measure(StepProfile *profile, Trainer *trainer, double seconds, Err *err);
void profile_give(StepProfile *profile, Trainer *trainer, const ForecastPlan *plan);
void profile_free(StepProfile *profile);

void forecast_print(const ForecastPlan *plan, const Trainer *trainer, const StepProfile *profile,
                    const Forecast *rows, const ForecastRequest *request);

#endif
