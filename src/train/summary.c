/* summary.json: how a run ended, for people and for scripts that compare runs. Written in one piece
 * at the end, so its presence means that the run has ended. */
#include "run_parts.h"

#include <math.h>

static void add_results(JsonText *json, const Summary *summary)
{
    json_add_text(json, "status", summary->status);
    if (summary->diverged_step >= 0)
        json_add_integer(json, "diverged_step", summary->diverged_step);
    json_add_number(json, "test_loss", summary->test_loss);
    if (summary->test_accuracy >= 0) {
        json_add_number(json, "test_accuracy", summary->test_accuracy);
        json_add_number(json, "best_accuracy", summary->best_accuracy);
    }
    if (summary->per_token) {
        json_add_number(json, "perplexity", perplexity(summary->test_loss));
        json_add_number(json, "bits_per_token", bits_per_token(summary->test_loss));
    }
    json_add_number(json, "best_loss", summary->best_loss);
    json_add_number(json, "train_loss", summary->train_loss);
    if (summary->recovers) {
        json_add_integer(json, "skipped_steps", summary->skipped_steps);
        json_add_integer(json, "rollbacks", summary->rollbacks);
        json_add_number(json, "lr_factor", summary->lr_factor);
    }
}

/* Null: not met. */
static void add_target(JsonText *json, const Summary *summary)
{
    bool met = summary->target_step > 0;
    if (summary->target_accuracy > 0)
        json_add_number(json, "target_accuracy", summary->target_accuracy);
    else if (summary->target_loss > 0)
        json_add_number(json, "target_loss", summary->target_loss);
    else
        return;
    json_add_number(json, "target_step", met ? (double)summary->target_step : (double)NAN);
    json_add_number(json, "target_samples", met ? (double)summary->target_samples : (double)NAN);
    json_add_fixed(json, "target_seconds", met ? summary->target_seconds : (double)NAN, 6);
}

static void add_run(JsonText *json, const Summary *summary)
{
    json_add_integer(json, "steps", summary->steps);
    json_add_number(json, "epochs", summary->epochs);
    json_add_integer(json, "samples", summary->samples);
    json_add_integer(json, "global_batch", summary->global_batch);
    json_add_integer(json, "lanes", summary->lanes);
    json_add_integer(json, "ranks", summary->ranks);
    json_add_fixed(json, "seconds", summary->seconds, 6);
    json_add_fixed(json, "samples_per_second", summary->samples_per_second, 1);
    if (summary->tokens_per_second > 0)
        json_add_fixed(json, "tokens_per_second", summary->tokens_per_second, 1);
    if (summary->sent_bytes > 0)
        json_add_fixed(json, "sent_bytes", summary->sent_bytes, 0);
    if (summary->probed_steps > 0) {
        json_add_integer(json, "probed_steps", summary->probed_steps);
        json_add_fixed(json, "probe_seconds", summary->probe_seconds, 6);
        json_add_fixed(json, "probe_share", summary->probe_share, 6);
    }
    json_add_text(json, "optimizer", summary->optimizer);
    if (summary->reduction)
        json_add_text(json, "reduction", summary->reduction);
    json_add_integer(json, "seed", summary->seed);
    json_add_integer(json, "parameters", summary->parameters);
    json_add_hex(json, "digest", summary->digest);
    json_add_hex(json, "trajectory", summary->trajectory);
}

bool summary_write(const char *path, const Summary *summary, Err *err)
{
    char text[4096];
    JsonText json;
    json_start(&json, text, sizeof text, true);
    add_results(&json, summary);
    add_target(&json, summary);
    add_run(&json, summary);
    json_finish(&json);
    expect(!json.full);
    return file_replace(path, text, json.used, err);
}
