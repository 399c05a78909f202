/* Made by scripts/python_tables.py; `make generated` makes it anew. */
%{
static void put(PyObject *dict, const char *name, PyObject *value) {
    if (value)
        PyDict_SetItemString(dict, name, value);
    Py_XDECREF(value);
}
static void put_number(PyObject *dict, const char *name, uint64_t value) {
    put(dict, name, PyLong_FromUnsignedLongLong(value));
}
static void put_signed(PyObject *dict, const char *name, int32_t value) { put(dict, name, PyLong_FromLong(value)); }
static PyObject *address_of(const weft_addr *address) {
    char text[WEFT_ADDR_TEXT];
    if (address->family && weft_addr_format(address, text, sizeof text) > 0)
        return PyUnicode_FromString(text);
    Py_INCREF(Py_None);
    return Py_None;
}
static PyObject *weft_close_dict(const weft_close *s) {
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    put_number(dict, "cause", s->cause);
    put_signed(dict, "error", s->error);
    put_number(dict, "app", s->app);
    put_number(dict, "code", s->code);
    put_number(dict, "frame_type", s->frame_type);
    put_number(dict, "reason_len", s->reason_len);
    put(dict, "reason", PyBytes_FromStringAndSize(s->reason, s->reason_len));
    if (PyErr_Occurred()) {
        Py_DECREF(dict);
        return NULL;
    }
    return dict;
}
static PyObject *weft_conn_info_dict(const weft_conn_info *s) {
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    put_number(dict, "state", s->state);
    put_number(dict, "role", s->role);
    put_number(dict, "resumed", s->resumed);
    put_number(dict, "early", s->early);
    put_number(dict, "version", s->version);
    put_number(dict, "listener", s->listener.id);
    put(dict, "local", address_of(&s->local));
    put(dict, "remote", address_of(&s->remote));
    put_number(dict, "created_at", s->created_at);
    put_number(dict, "connected_at", s->connected_at);
    put_number(dict, "peer_max_idle_timeout", s->peer_max_idle_timeout);
    put_number(dict, "peer_max_udp_payload_size", s->peer_max_udp_payload_size);
    put_number(dict, "peer_initial_max_data", s->peer_initial_max_data);
    put_number(dict, "peer_initial_max_streams_bidi", s->peer_initial_max_streams_bidi);
    put_number(dict, "peer_initial_max_streams_uni", s->peer_initial_max_streams_uni);
    put_number(dict, "peer_certificate_len", s->peer_certificate_len);
    put(dict, "alpn", PyUnicode_DecodeUTF8(s->alpn, (Py_ssize_t)strlen(s->alpn), "replace"));
    put(dict, "server_name", PyUnicode_DecodeUTF8(s->server_name, (Py_ssize_t)strlen(s->server_name), "replace"));
    put(dict, "cipher", PyUnicode_DecodeUTF8(s->cipher, (Py_ssize_t)strlen(s->cipher), "replace"));
    put(dict, "group", PyUnicode_DecodeUTF8(s->group, (Py_ssize_t)strlen(s->group), "replace"));
    put_number(dict, "closing_until", s->closing_until);
    if (PyErr_Occurred()) {
        Py_DECREF(dict);
        return NULL;
    }
    return dict;
}
static PyObject *weft_path_dict(const weft_path *s) {
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    put_number(dict, "validated", s->validated);
    put(dict, "local", address_of(&s->local));
    put(dict, "remote", address_of(&s->remote));
    put_number(dict, "rtt", s->rtt);
    put_number(dict, "rtt_variance", s->rtt_variance);
    put_number(dict, "rtt_min", s->rtt_min);
    put_number(dict, "rtt_latest", s->rtt_latest);
    put_number(dict, "congestion_window", s->congestion_window);
    put_number(dict, "bytes_in_flight", s->bytes_in_flight);
    put_number(dict, "slow_start_threshold", s->slow_start_threshold);
    put_number(dict, "mtu", s->mtu);
    put_number(dict, "pto_count", s->pto_count);
    if (PyErr_Occurred()) {
        Py_DECREF(dict);
        return NULL;
    }
    return dict;
}
static PyObject *weft_stream_info_dict(const weft_stream_info *s) {
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    put_number(dict, "local", s->local);
    put_number(dict, "direction", s->direction);
    put_number(dict, "send_state", s->send_state);
    put_number(dict, "recv_state", s->recv_state);
    put_number(dict, "id", s->id);
    put_number(dict, "written", s->written);
    put_number(dict, "acknowledged", s->acknowledged);
    put_number(dict, "buffered", s->buffered);
    put_number(dict, "received", s->received);
    put_number(dict, "taken", s->taken);
    put_number(dict, "urgency", s->urgency);
    put_number(dict, "incremental", s->incremental);
    put_number(dict, "paused", s->paused);
    put_number(dict, "expired", s->expired);
    if (PyErr_Occurred()) {
        Py_DECREF(dict);
        return NULL;
    }
    return dict;
}
static PyObject *weft_conn_stats_dict(const weft_conn_stats *s) {
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    put_number(dict, "packets_sent", s->packets_sent);
    put_number(dict, "packets_received", s->packets_received);
    put_number(dict, "packets_lost", s->packets_lost);
    put_number(dict, "packets_spurious", s->packets_spurious);
    put_number(dict, "packets_dropped", s->packets_dropped);
    put_number(dict, "packets_duplicate", s->packets_duplicate);
    put_number(dict, "packets_reordered", s->packets_reordered);
    put_number(dict, "bytes_sent", s->bytes_sent);
    put_number(dict, "bytes_received", s->bytes_received);
    put_number(dict, "datagrams_sent", s->datagrams_sent);
    put_number(dict, "datagrams_received", s->datagrams_received);
    put_number(dict, "stream_bytes_sent", s->stream_bytes_sent);
    put_number(dict, "stream_bytes_retransmitted", s->stream_bytes_retransmitted);
    put_number(dict, "stream_bytes_received", s->stream_bytes_received);
    put_number(dict, "acks_sent", s->acks_sent);
    put_number(dict, "acks_received", s->acks_received);
    put_number(dict, "ptos", s->ptos);
    put_number(dict, "congestion_events", s->congestion_events);
    put_number(dict, "persistent_congestions", s->persistent_congestions);
    put_number(dict, "streams_opened_local", s->streams_opened_local);
    put_number(dict, "streams_opened_remote", s->streams_opened_remote);
    put_number(dict, "key_updates", s->key_updates);
    put_number(dict, "flow_blocked", s->flow_blocked);
    put_number(dict, "datagram_frames_sent", s->datagram_frames_sent);
    put_number(dict, "datagram_frames_received", s->datagram_frames_received);
    put_number(dict, "datagram_frames_lost", s->datagram_frames_lost);
    put_number(dict, "datagram_frames_dropped", s->datagram_frames_dropped);
    put_number(dict, "ecn_marked", s->ecn_marked);
    put_number(dict, "ecn_ce", s->ecn_ce);
    put_number(dict, "ecn_failures", s->ecn_failures);
    put_number(dict, "mtu_black_holes", s->mtu_black_holes);
    put_number(dict, "glitches", s->glitches);
    put_number(dict, "acks_optimistic", s->acks_optimistic);
    put_number(dict, "paths_refused", s->paths_refused);
    put_number(dict, "qlog_dropped", s->qlog_dropped);
    put_number(dict, "writes_limited", s->writes_limited);
    put_number(dict, "resumes_tried", s->resumes_tried);
    put_number(dict, "resumes_validated", s->resumes_validated);
    put_number(dict, "resumes_retreated", s->resumes_retreated);
    put_number(dict, "resumes_refused", s->resumes_refused);
    if (PyErr_Occurred()) {
        Py_DECREF(dict);
        return NULL;
    }
    return dict;
}
static PyObject *weft_engine_stats_dict(const weft_engine_stats *s) {
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    put(dict, "conns", weft_conn_stats_dict(&s->conns));
    put_number(dict, "connections_accepted", s->connections_accepted);
    put_number(dict, "connections_opened", s->connections_opened);
    put_number(dict, "handshakes_completed", s->handshakes_completed);
    put_number(dict, "handshakes_failed", s->handshakes_failed);
    put_number(dict, "connections_closed", s->connections_closed);
    put_number(dict, "version_negotiations_sent", s->version_negotiations_sent);
    put_number(dict, "retries_sent", s->retries_sent);
    put_number(dict, "stateless_resets_sent", s->stateless_resets_sent);
    put_number(dict, "datagrams_unknown", s->datagrams_unknown);
    put_number(dict, "datagrams_refused", s->datagrams_refused);
    put_number(dict, "receive_calls", s->receive_calls);
    put_number(dict, "send_calls", s->send_calls);
    put_number(dict, "send_blocked", s->send_blocked);
    put_number(dict, "socket_buffers_small", s->socket_buffers_small);
    put_number(dict, "turns", s->turns);
    put_number(dict, "memory_used", s->memory_used);
    put_number(dict, "memory_peak", s->memory_peak);
    put_number(dict, "memory_refusals", s->memory_refusals);
    put_number(dict, "connections", s->connections);
    put_number(dict, "buffers_retained", s->buffers_retained);
    put_number(dict, "half_open_guards", s->half_open_guards);
    put_number(dict, "initials_dropped", s->initials_dropped);
    put_number(dict, "initials_deferred", s->initials_deferred);
    put_number(dict, "prefix_limited", s->prefix_limited);
    put_number(dict, "connections_glitched", s->connections_glitched);
    put_number(dict, "glitch_ack_useless", s->glitch_ack_useless);
    put_number(dict, "glitch_ack_ranges", s->glitch_ack_ranges);
    put_number(dict, "glitch_crypto_useless", s->glitch_crypto_useless);
    put_number(dict, "glitch_crypto_gap", s->glitch_crypto_gap);
    put_number(dict, "glitch_stream_useless", s->glitch_stream_useless);
    put_number(dict, "glitch_stream_gap", s->glitch_stream_gap);
    put_number(dict, "glitch_tiny", s->glitch_tiny);
    put_number(dict, "glitch_stream_reset", s->glitch_stream_reset);
    put_number(dict, "glitch_reset_useless", s->glitch_reset_useless);
    put_number(dict, "glitch_credit_useless", s->glitch_credit_useless);
    put_number(dict, "glitch_blocked", s->glitch_blocked);
    put_number(dict, "glitch_ping", s->glitch_ping);
    put_number(dict, "glitch_path_challenge", s->glitch_path_challenge);
    put_number(dict, "glitch_path_response", s->glitch_path_response);
    put_number(dict, "glitch_new_connection_id", s->glitch_new_connection_id);
    put_number(dict, "glitch_retire_connection_id", s->glitch_retire_connection_id);
    put_number(dict, "glitch_new_token", s->glitch_new_token);
    put_number(dict, "glitch_handshake_done", s->glitch_handshake_done);
    put_number(dict, "glitch_ack_frequency", s->glitch_ack_frequency);
    put_number(dict, "glitch_immediate_ack", s->glitch_immediate_ack);
    put_number(dict, "glitch_key_update", s->glitch_key_update);
    put_number(dict, "handshakes_evicted", s->handshakes_evicted);
    put_number(dict, "replies_suppressed", s->replies_suppressed);
    put_number(dict, "closings_cut", s->closings_cut);
    put_number(dict, "orphans_dropped", s->orphans_dropped);
    put_number(dict, "amplification_blocks", s->amplification_blocks);
    put_number(dict, "sockets_connected", s->sockets_connected);
    put_number(dict, "sockets_refused", s->sockets_refused);
    put_number(dict, "connections_stalled", s->connections_stalled);
    put_number(dict, "datagrams_handed_over", s->datagrams_handed_over);
    put_number(dict, "datagrams_taken_over", s->datagrams_taken_over);
    put_number(dict, "handovers_dropped", s->handovers_dropped);
    if (PyErr_Occurred()) {
        Py_DECREF(dict);
        return NULL;
    }
    return dict;
}
static PyObject *weft_path_stats_dict(const weft_path_stats *s) {
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    put_number(dict, "use", s->use);
    put(dict, "local", address_of(&s->local));
    put(dict, "remote", address_of(&s->remote));
    put_number(dict, "validated", s->validated);
    put_number(dict, "ecn", s->ecn);
    put_number(dict, "rtt", s->rtt);
    put_number(dict, "rtt_variance", s->rtt_variance);
    put_number(dict, "rtt_min", s->rtt_min);
    put_number(dict, "rtt_latest", s->rtt_latest);
    put_number(dict, "congestion_window", s->congestion_window);
    put_number(dict, "bytes_in_flight", s->bytes_in_flight);
    put_number(dict, "slow_start_threshold", s->slow_start_threshold);
    put_number(dict, "mtu", s->mtu);
    put_number(dict, "packets_sent", s->packets_sent);
    put_number(dict, "packets_received", s->packets_received);
    put_number(dict, "packets_lost", s->packets_lost);
    put_number(dict, "packets_spurious", s->packets_spurious);
    put_number(dict, "bytes_sent", s->bytes_sent);
    put_number(dict, "bytes_received", s->bytes_received);
    put_number(dict, "datagrams_sent", s->datagrams_sent);
    put_number(dict, "datagrams_received", s->datagrams_received);
    put_number(dict, "rtt_samples", s->rtt_samples);
    put_number(dict, "ptos", s->ptos);
    put_number(dict, "congestion_events", s->congestion_events);
    put_number(dict, "persistent_congestions", s->persistent_congestions);
    put_number(dict, "challenges_sent", s->challenges_sent);
    put_number(dict, "challenges_received", s->challenges_received);
    put_number(dict, "ecn_marked", s->ecn_marked);
    put_number(dict, "ecn_ce", s->ecn_ce);
    put_number(dict, "ecn_failures", s->ecn_failures);
    put_number(dict, "mtu_black_holes", s->mtu_black_holes);
    if (PyErr_Occurred()) {
        Py_DECREF(dict);
        return NULL;
    }
    return dict;
}
static PyObject *weft_traffic_dict(const weft_traffic *s) {
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    put_number(dict, "sent", s->sent);
    put_number(dict, "delivered", s->delivered);
    put_number(dict, "lost", s->lost);
    put_number(dict, "bytes_sent", s->bytes_sent);
    put_number(dict, "bytes_delivered", s->bytes_delivered);
    if (PyErr_Occurred()) {
        Py_DECREF(dict);
        return NULL;
    }
    return dict;
}
%}

%typemap(in, numinputs=0) weft_close * (weft_close made) {
    memset(&made, 0, sizeof made);
    made.size = sizeof made;
    $1 = &made;
}
%typemap(argout) weft_close * { $result = glue_append($result, weft_close_dict($1)); }
%typemap(in, numinputs=0) weft_conn_info * (weft_conn_info made) {
    memset(&made, 0, sizeof made);
    made.size = sizeof made;
    $1 = &made;
}
%typemap(argout) weft_conn_info * { $result = glue_append($result, weft_conn_info_dict($1)); }
%typemap(in, numinputs=0) weft_path * (weft_path made) {
    memset(&made, 0, sizeof made);
    made.size = sizeof made;
    $1 = &made;
}
%typemap(argout) weft_path * { $result = glue_append($result, weft_path_dict($1)); }
%typemap(in, numinputs=0) weft_stream_info * (weft_stream_info made) {
    memset(&made, 0, sizeof made);
    made.size = sizeof made;
    $1 = &made;
}
%typemap(argout) weft_stream_info * { $result = glue_append($result, weft_stream_info_dict($1)); }
%typemap(in, numinputs=0) weft_conn_stats * (weft_conn_stats made) {
    memset(&made, 0, sizeof made);
    made.size = sizeof made;
    $1 = &made;
}
%typemap(argout) weft_conn_stats * { $result = glue_append($result, weft_conn_stats_dict($1)); }
%typemap(in, numinputs=0) weft_engine_stats * (weft_engine_stats made) {
    memset(&made, 0, sizeof made);
    made.size = sizeof made;
    $1 = &made;
}
%typemap(argout) weft_engine_stats * { $result = glue_append($result, weft_engine_stats_dict($1)); }
%typemap(in, numinputs=0) weft_path_stats * (weft_path_stats made) {
    memset(&made, 0, sizeof made);
    made.size = sizeof made;
    $1 = &made;
}
%typemap(argout) weft_path_stats * { $result = glue_append($result, weft_path_stats_dict($1)); }
%typemap(in, numinputs=0) weft_traffic * (weft_traffic made) {
    memset(&made, 0, sizeof made);
    made.size = sizeof made;
    $1 = &made;
}
%typemap(argout) weft_traffic * { $result = glue_append($result, weft_traffic_dict($1)); }
%typemap(in, numinputs=0) weft_addr * (weft_addr made) {
    memset(&made, 0, sizeof made);
    $1 = &made;
}
%typemap(argout) weft_addr * { $result = glue_append($result, address_of($1)); }
