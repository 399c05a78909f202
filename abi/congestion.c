/* congestion.c - a congestion controller that the application brings.
 *
 * Knows two tables of functions and translates the one, the core's, into the other, which is promised. Does not know
 * what the application's controller does, but that a window of less than two datagrams is none (RFC 9002 7.2).
 *
 * What the core keeps for a path, cc->state, is the struct the application sees. Congestion events are told apart here
 * (RFC 9002 7.3.2), since the core counts them and undoes them by their number: one begins when something is lost that
 * was sent after the one before.
 *
 * The invariant that matters: after each call window and pacing rate are what the application set, within its bounds.
 */
#include "abi.h"

static struct weft_congestion_path *path_of(const struct quic_cc *cc) {
    return (struct weft_congestion_path *)cc->state;
}

static const weft_congestion_control *control_of(const struct quic_cc *cc) {
    return &BASE_CONTAINER(cc->ops, const struct abi_congestion, ops)->control;
}

static struct weft_congestion_path *begin(struct quic_cc *cc, uint64_t now, uint64_t in_flight) {
    struct weft_congestion_path *path = path_of(cc);
    path->mtu = cc->mtu;
    path->window = cc->window;
    path->pacing_rate = cc->pacing_rate;
    path->now = now;
    path->in_flight = in_flight;
    abi_enter();
    return path;
}

static void end(struct quic_cc *cc) {
    abi_leave();
    const struct weft_congestion_path *path = path_of(cc);
    uint64_t least = quic_cc_least_window(cc);
    cc->window = path->window > least ? path->window : least;
    cc->pacing_rate = path->pacing_rate;
}

static bool cc_init(struct quic_cc *cc) {
    const weft_congestion_control *control = control_of(cc);
    path_of(cc)->size = sizeof(struct weft_congestion_path);
    struct weft_congestion_path *path = begin(cc, 0, 0);
    bool ok = !control->open || control->open(control->user, path) == 0;
    end(cc);
    return ok;
}

static void cc_clear(struct quic_cc *cc) {
    const weft_congestion_control *control = control_of(cc);
    struct weft_congestion_path *path = begin(cc, 0, 0);
    if (control->close)
        control->close(control->user, path);
    end(cc);
}

static void cc_on_sent(struct quic_cc *cc, base_time now, uint64_t number, uint64_t bytes, uint64_t in_flight) {
    const weft_congestion_control *control = control_of(cc);
    (void)number;
    if (!control->on_sent)
        return;
    control->on_sent(control->user, begin(cc, now, in_flight), bytes);
    end(cc);
}

static void cc_on_ack(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    const weft_congestion_control *control = control_of(cc);
    struct weft_congestion_path *path = path_of(cc);
    if (ack->rtt->sampled) {
        path->smoothed_rtt = ack->rtt->smoothed;
        path->min_rtt = ack->rtt->min;
        path->latest_rtt = ack->rtt->latest;
    }
    if (!control->on_ack)
        return;
    double rate = ack->sample_interval ? (double)ack->sample_delivered * 1e9 / (double)ack->sample_interval : 0.0;
    const weft_congestion_ack told = {.size = sizeof told,
                                      .app_limited = ack->app_limited,
                                      .bytes = ack->acked_bytes,
                                      .prior_in_flight = ack->prior_in_flight,
                                      .sent_at = ack->largest_sent_at,
                                      .rtt = ack->rtt_sample,
                                      .delivered = ack->delivered,
                                      .rate = rate < 9e18 ? (uint64_t)rate : UINT64_C(9000000000000000000)};
    control->on_ack(control->user, begin(cc, ack->now, ack->bytes_in_flight), &told);
    end(cc);
}

static void cc_on_congestion(struct quic_cc *cc, const struct quic_cc_loss *loss) {
    const weft_congestion_control *control = control_of(cc);
    bool fresh = loss->largest_lost_sent_at > cc->recovery_start;
    if (fresh) {
        cc->events++;
        cc->recovery_start = loss->now;
    }
    if (!control->on_loss)
        return;
    const weft_congestion_loss told = {.size = sizeof told,
                                       .ecn = loss->ecn,
                                       .new_event = fresh,
                                       .bytes = loss->lost_bytes,
                                       .sent_at = loss->largest_lost_sent_at};
    control->on_loss(control->user, begin(cc, loss->now, loss->bytes_in_flight), &told);
    end(cc);
}

/* The ones that are told no more than that it happened. */
static void tell(struct quic_cc *cc, void (*function)(void *user, weft_congestion_path *path), base_time now) {
    if (!function)
        return;
    function(control_of(cc)->user, begin(cc, now, path_of(cc)->in_flight));
    end(cc);
}

static void cc_on_persistent(struct quic_cc *cc, base_time now) { tell(cc, control_of(cc)->on_persistent, now); }
static void cc_on_spurious(struct quic_cc *cc, base_time now) { tell(cc, control_of(cc)->on_spurious, now); }

static void cc_on_mtu(struct quic_cc *cc, uint32_t mtu) {
    quic_cc_on_mtu(cc, mtu);
    tell(cc, control_of(cc)->on_mtu, path_of(cc)->now);
}

static const struct quic_cc_ops adapter = {.name = "custom",
                                           .state_size = sizeof(struct weft_congestion_path),
                                           .init = cc_init,
                                           .clear = cc_clear,
                                           .on_sent = cc_on_sent,
                                           .on_ack = cc_on_ack,
                                           .on_congestion = cc_on_congestion,
                                           .on_persistent = cc_on_persistent,
                                           .on_spurious = cc_on_spurious,
                                           .on_mtu = cc_on_mtu};

int32_t weft_config_set_congestion_control(weft_config config, const weft_congestion_control *control) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    weft_congestion_control table;
    error = abi_table_params(&table, control, sizeof table);
    if (error)
        return abi_config_end(own, abi_config_fail(own, error, "%s", abi_table_why(error)));
    own->congestion = (struct abi_congestion){.ops = adapter, .control = table};
    own->core.custom_cc = control ? &own->congestion.ops : NULL;
    return abi_config_end(own, WEFT_OK);
}
