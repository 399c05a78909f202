"""What draft-ietf-quic-qlog-main-schema-14 and draft-ietf-quic-qlog-quic-events-13 allow, as tables.

Each object is a dictionary: name of a member -> (type, needed). A type is one of the strings below, a set of texts (an enumeration), a
dictionary (an object), ["+", type] or ["*", type] (an array of at least one, of any number), or a function that says whether it is one.
Objects whose definition in the draft ends with an extension point may have members named in EXTENSIONS besides: those are ours, and
are listed so that a slip of the pen is none.
"""

import math
import re

U64 = (1 << 64) - 1


def is_hex(value):
    return isinstance(value, str) and re.fullmatch(r"([0-9a-f]{2})*", value) is not None


def is_uint(value, most=U64):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


SIMPLE = {
    "text": lambda v: isinstance(v, str),
    "bool": lambda v: isinstance(v, bool),
    "hexstring": is_hex,
    "uint8": lambda v: is_uint(v, 255),
    "uint16": lambda v: is_uint(v, 65535),
    "uint32": lambda v: is_uint(v, (1 << 32) - 1),
    "uint64": is_uint,
    "float": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v),
}

INITIATOR = {"local", "remote"}
STREAM_TYPE = {"unidirectional", "bidirectional"}
VERSION = lambda v: is_hex(v) and len(v) == 8
CID = lambda v: is_hex(v) and len(v) <= 40
IP4 = lambda v: isinstance(v, str) and re.fullmatch(r"\d+\.\d+\.\d+\.\d+", v) is not None
IP6 = lambda v: isinstance(v, str) and re.fullmatch(r"([0-9a-f]{4}:){7}[0-9a-f]{4}", v) is not None
RAW = {"length": ("uint64", False), "payload_length": ("uint64", False), "data": ("hexstring", False)}
TOKEN = {"type": ({"retry", "resumption"}, False), "details": ({}, False), "raw": (RAW, False)}
ENDPOINT = {
    "ip_v4": (IP4, False),
    "port_v4": ("uint16", False),
    "ip_v6": (IP6, False),
    "port_v6": ("uint16", False),
    "connection_ids": (["+", CID], False),
}
TRANSPORT_ERRORS = {
    "no_error", "internal_error", "connection_refused", "flow_control_error", "stream_limit_error", "stream_state_error",
    "final_size_error", "frame_encoding_error", "transport_parameter_error", "connection_id_limit_error", "protocol_violation",
    "invalid_token", "application_error", "crypto_buffer_exceeded", "key_update_error", "aead_limit_reached", "no_viable_path", "unknown",
}  # fmt: skip
APPLICATION_ERROR = {"unknown"}
TRANSPORT_ERROR = lambda v: v in TRANSPORT_ERRORS or re.fullmatch(r"crypto_error_0x1[0-9a-f][0-9a-f]", str(v)) is not None
ANY_ERROR = lambda v: TRANSPORT_ERROR(v) or v in APPLICATION_ERROR
SPACE = {"initial", "handshake", "application_data"}
PACKET_TYPE = {"initial", "handshake", "0RTT", "1RTT", "retry", "version_negotiation", "stateless_reset", "unknown"}
HEADER = {
    "packet_type": (PACKET_TYPE, True),
    "packet_type_bytes": ("uint64", False),
    "spin_bit": ("bool", False),
    "key_phase": ("uint64", False),
    "key_phase_bit": ("bool", False),
    "packet_number_length": ("uint8", False),
    "packet_number": ("uint64", False),
    "token": (TOKEN, False),
    "length": ("uint16", False),
    "version": (VERSION, False),
    "scil": ("uint8", False),
    "dcil": ("uint8", False),
    "scid": (CID, False),
    "dcid": (CID, False),
}


def ack_range(value):
    return (
        isinstance(value, list)
        and len(value) in (1, 2)
        and all(is_uint(v) for v in value)
        and (len(value) == 1 or value[0] < value[1])
    )


FRAMES = {
    "padding": {},
    "ping": {},
    "ack": {
        "ack_delay": ("float", False),
        "acked_ranges": (["+", ack_range], False),
        "ect1": ("uint64", False),
        "ect0": ("uint64", False),
        "ce": ("uint64", False),
    },
    "reset_stream": {
        "stream_id": ("uint64", True),
        "error": (APPLICATION_ERROR, True),
        "error_code": ("uint64", False),
        "final_size": ("uint64", True),
    },
    "reset_stream_at": {
        "stream_id": ("uint64", True),
        "error": (APPLICATION_ERROR, True),
        "error_code": ("uint64", False),
        "final_size": ("uint64", True),
        "reliable_size": ("uint64", True),
    },
    "stop_sending": {"stream_id": ("uint64", True), "error": (APPLICATION_ERROR, True), "error_code": ("uint64", False)},
    "crypto": {"offset": ("uint64", True), "raw": (RAW, True)},
    "new_token": {"token": (TOKEN, True)},
    "stream": {"stream_id": ("uint64", True), "offset": ("uint64", False), "fin": ("bool", False)},
    "max_data": {"maximum": ("uint64", True)},
    "max_stream_data": {"stream_id": ("uint64", True), "maximum": ("uint64", True)},
    "max_streams": {"stream_type": (STREAM_TYPE, True), "maximum": ("uint64", True)},
    "data_blocked": {"limit": ("uint64", True)},
    "stream_data_blocked": {"stream_id": ("uint64", True), "limit": ("uint64", True)},
    "streams_blocked": {"stream_type": (STREAM_TYPE, True), "limit": ("uint64", True)},
    "new_connection_id": {
        "sequence_number": ("uint64", True),
        "retire_prior_to": ("uint64", True),
        "connection_id_length": ("uint8", False),
        "connection_id": (CID, True),
        "stateless_reset_token": (lambda v: False, False),  # allowed by the draft, never told by us
    },
    "retire_connection_id": {"sequence_number": ("uint64", True)},
    "path_challenge": {"data": (lambda v: is_hex(v) and len(v) == 16, False)},
    "path_response": {"data": (lambda v: is_hex(v) and len(v) == 16, False)},
    "connection_close": {
        "error_space": ({"transport", "application"}, False),
        "error": (ANY_ERROR, False),
        "error_code": ("uint64", False),
        "reason": ("text", False),
        "reason_bytes": ("hexstring", False),
        "trigger_frame_type": ("uint64", False),
    },
    "handshake_done": {},
    "unknown": {"frame_type_bytes": ("uint64", True)},
    "datagram": {},
    # draft-ietf-quic-ack-frequency, for which no qlog is defined: ours
    "immediate_ack": {},
    "ack_frequency": {
        "sequence_number": ("uint64", True),
        "ack_eliciting_threshold": ("uint64", True),
        "requested_max_ack_delay": ("float", True),
        "reordering_threshold": ("uint64", True),
    },
}

ALPN = {"byte_value": ("hexstring", False), "string_value": ("text", False)}
RESTORED = {
    "disable_active_migration": ("bool", False),
    "max_idle_timeout": ("uint64", False),
    "max_udp_payload_size": ("uint64", False),
    "active_connection_id_limit": ("uint64", False),
    "initial_max_data": ("uint64", False),
    "initial_max_stream_data_bidi_local": ("uint64", False),
    "initial_max_stream_data_bidi_remote": ("uint64", False),
    "initial_max_stream_data_uni": ("uint64", False),
    "initial_max_streams_bidi": ("uint64", False),
    "initial_max_streams_uni": ("uint64", False),
    "max_datagram_frame_size": ("uint64", False),
    "grease_quic_bit": ("bool", False),
}
PREFERRED = {
    **ENDPOINT,
    "connection_id": (CID, True),
    "stateless_reset_token": (lambda v: v == "00" * 16, True),  # its place: we never tell it
}
KEY_TYPE = {f"{role}_{level}_secret" for role in ("server", "client") for level in ("initial", "handshake", "0rtt", "1rtt")}
KEY = {
    "key_type": (KEY_TYPE, True),
    "old": (lambda v: False, False),  # never told by us
    "new": (lambda v: False, False),
    "key": (lambda v: False, False),
    "key_phase": ("uint64", False),
    "trigger": ({"tls", "remote_update", "local_update"}, False),
}
STATES = {
    "attempted", "handshake_started", "handshake_complete", "closed", "peer_validated", "early_write", "handshake_confirmed",
    "closing", "draining",
}  # fmt: skip
ECN_STATE = {"testing", "unknown", "failed", "capable"}
MIGRATION = {
    "probing_started", "probing_abandoned", "probing_successful", "migration_started", "migration_abandoned", "migration_complete",
}  # fmt: skip
PACKET = {
    "header": (HEADER, True),
    "frames": (["*", "frame"], False),
    "stateless_reset_token": (lambda v: False, False),
    "supported_versions": (["+", VERSION], False),
    "raw": (RAW, False),
    "datagram_payload_checksum": ("uint32", False),
}
DATAGRAMS = {
    "count": ("uint16", False),
    "raw": (["+", RAW], False),
    "ecn": (["+", {"Not-ECT", "ECT(1)", "ECT(0)", "CE"}], False),
    "datagram_payload_checksums": (["+", "uint32"], False),
}

EVENTS = {
    "connection_started": {"local": (ENDPOINT, True), "remote": (ENDPOINT, True)},
    "connection_closed": {
        "initiator": (INITIATOR, False),
        "connection_error": (TRANSPORT_ERROR, False),
        "application_error": (APPLICATION_ERROR, False),
        "error_code": ("uint64", False),
        "internal_code": ("uint64", False),
        "reason": ("text", False),
        "trigger": (
            {"idle_timeout", "application", "error", "version_mismatch", "stateless_reset", "aborted", "unspecified"},
            False,
        ),
    },
    "connection_id_updated": {"initiator": (INITIATOR, True), "old": (CID, False), "new": (CID, False)},
    "spin_bit_updated": {"state": ("bool", True)},
    "connection_state_updated": {"old": (STATES, False), "new": (STATES, True)},
    "tuple_assigned": {"tuple_id": ("text", True), "tuple_remote": (ENDPOINT, False), "tuple_local": (ENDPOINT, False)},
    "mtu_updated": {"old": ("uint32", False), "new": ("uint32", True), "done": ("bool", False)},
    "version_information": {
        "server_versions": (["+", VERSION], False),
        "client_versions": (["+", VERSION], False),
        "chosen_version": (VERSION, False),
    },
    "alpn_information": {
        "server_alpns": (["*", ALPN], False),
        "client_alpns": (["*", ALPN], False),
        "chosen_alpn": (ALPN, False),
    },
    "parameters_set": {
        **RESTORED,
        "initiator": (INITIATOR, False),
        "resumption_allowed": ("bool", False),
        "early_data_enabled": ("bool", False),
        "tls_cipher": ("text", False),
        "original_destination_connection_id": (CID, False),
        "initial_source_connection_id": (CID, False),
        "retry_source_connection_id": (CID, False),
        "stateless_reset_token": (lambda v: False, False),
        "ack_delay_exponent": ("uint64", False),
        "max_ack_delay": ("uint64", False),
        "preferred_address": (PREFERRED, False),
        "unknown_parameters": (["*", {"id": ("uint64", True), "value": ("hexstring", False)}], False),
        "reset_stream_at": ("bool", False),
    },
    "parameters_restored": RESTORED,
    "packet_sent": {
        **PACKET,
        "is_mtu_probe_packet": ("bool", False),
        "trigger": (
            {"retransmit_reordered", "retransmit_timeout", "pto_probe", "retransmit_crypto", "cc_bandwidth_probe"},
            False,
        ),
    },
    "packet_received": {**PACKET, "trigger": ({"keys_available"}, False)},
    "packet_dropped": {
        "header": (HEADER, False),
        "raw": (RAW, False),
        "datagram_payload_checksum": ("uint32", False),
        "details": ({}, False),
        "trigger": (
            {
                "internal_error", "rejected", "unsupported", "invalid", "duplicate", "connection_unknown", "decryption_failure",
                "key_unavailable", "general",
            },  # fmt: skip
            False,
        ),
    },
    "packet_buffered": {
        "header": (HEADER, False),
        "raw": (RAW, False),
        "datagram_payload_checksum": ("uint32", False),
        "trigger": ({"backpressure", "keys_unavailable"}, False),
    },
    "udp_datagrams_sent": DATAGRAMS,
    "udp_datagrams_received": DATAGRAMS,
    "migration_state_updated": {
        "old": (MIGRATION, False),
        "new": (MIGRATION, True),
        "tuple_id": ("text", False),
        "tuple_remote": (ENDPOINT, False),
        "tuple_local": (ENDPOINT, False),
    },
    "timer_updated": {
        "timer_type": ({"ack", "pto", "loss_timeout", "path_validation", "handshake_timeout", "idle_timeout"}, False),
        "timer_id": ("uint64", False),
        "packet_number_space": (SPACE, False),
        "event_type": ({"set", "expired", "cancelled"}, True),
        "delta": ("float", False),
    },
    "key_updated": KEY,
    "key_discarded": KEY,
    "recovery_parameters_set": {
        "reordering_threshold": ("uint16", False),
        "time_threshold": ("float", False),
        "timer_granularity": ("uint16", True),
        "initial_rtt": ("float", False),
        "max_datagram_size": ("uint32", False),
        "initial_congestion_window": ("uint64", False),
        "minimum_congestion_window": ("uint64", False),
        "loss_reduction_factor": ("float", False),
        "persistent_congestion_threshold": ("uint16", False),
    },
    "recovery_metrics_updated": {
        "min_rtt": ("float", False),
        "smoothed_rtt": ("float", False),
        "latest_rtt": ("float", False),
        "rtt_variance": ("float", False),
        "pto_count": ("uint16", False),
        "congestion_window": ("uint64", False),
        "bytes_in_flight": ("uint64", False),
        "ssthresh": ("uint64", False),
        "packets_in_flight": ("uint64", False),
        "pacing_rate": ("uint64", False),
    },
    "congestion_state_updated": {"old": ("text", False), "new": ("text", True), "trigger": ("text", False)},
    "packet_lost": {
        "header": (HEADER, False),
        "frames": (["*", "frame"], False),
        "is_mtu_probe_packet": ("bool", False),
        "trigger": ({"reordering_threshold", "time_threshold", "pto_expired"}, False),
    },
    "ecn_state_updated": {"old": (ECN_STATE, False), "new": (ECN_STATE, True)},
}

EXTENSIONS = {  # members the draft leaves room for
    "connection_closed": {"trigger_frame_type": ("uint64", False), "reason_bytes": ("hexstring", False)},
    "parameters_set": {"tls_group": ("text", False), "min_ack_delay": ("uint64", False)},
    "recovery_parameters_set": {"congestion_control": ("text", False)},
    "packet_sent": {"frames_omitted": ("uint64", False)},
    "packet_received": {"frames_omitted": ("uint64", False)},
}

FILE = {
    "file_schema": ({"urn:ietf:params:qlog:file:sequential"}, True),
    "serialization_format": ({"application/qlog+json-seq"}, True),
    "title": ("text", False),
    "description": ("text", False),
    "trace": (
        {
            "title": ("text", False),
            "description": ("text", False),
            "common_fields": (
                {
                    "time_format": ({"relative_to_epoch"}, False),
                    "group_id": (CID, False),
                    "reference_time": (
                        {
                            "clock_type": ({"monotonic"}, True),
                            "epoch": ({"unknown"}, True),
                            "wall_clock_time": (
                                lambda v: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(v)) is not None,
                                False,
                            ),
                        },
                        False,
                    ),
                },
                False,
            ),
            "vantage_point": ({"name": ("text", False), "type": ({"client", "server"}, True)}, False),
            "event_schemas": (["+", {"urn:ietf:params:qlog:events:quic-13"}], True),
        },
        True,
    ),
}
EVENT = {"time": ("float", True), "name": ("text", True), "data": (lambda v: isinstance(v, dict), True), "tuple": ("text", False)}


def check(value, wanted, where):
    """Raises AssertionError with the place when `value` is not of the type."""
    if wanted == "frame":
        kind = value.get("frame_type") if isinstance(value, dict) else None
        assert kind in FRAMES, f"{where}: no frame type {kind!r}"
        check(value, {"frame_type": ({kind}, True), "raw": (RAW, False), **FRAMES[kind]}, f"{where}({kind})")
    elif isinstance(wanted, str):
        assert SIMPLE[wanted](value), f"{where}: {value!r} is no {wanted}"
    elif isinstance(wanted, (set, frozenset)):
        assert isinstance(value, str) and value in wanted, f"{where}: {value!r} is none of {sorted(wanted)}"
    elif isinstance(wanted, list):
        assert isinstance(value, list), f"{where}: {value!r} is no array"
        assert value or wanted[0] == "*", f"{where}: an empty array"
        for i, item in enumerate(value):
            check(item, wanted[1], f"{where}[{i}]")
    elif isinstance(wanted, dict):
        assert isinstance(value, dict), f"{where}: {value!r} is no object"
        for name, item in value.items():
            assert name in wanted, f"{where}: no member {name!r} in the schema"
            check(item, wanted[name][0], f"{where}.{name}")
        for name, (_, needed) in wanted.items():
            assert not needed or name in value, f"{where}: {name!r} is missing"
    else:
        assert wanted(value), f"{where}: {value!r} is not allowed"


def check_event(event, where):
    check(event, EVENT, where)
    namespace, _, name = event["name"].partition(":")
    assert namespace == "quic" and name in EVENTS, f"{where}: no event {event['name']!r}"
    check(event["data"], {**EVENTS[name], **EXTENSIONS.get(name, {})}, f"{where} {name}")
