%% @private The library's functions, and nothing else: loaded once, never cover-compiled. `weft' is the API.
%%
%% A function that takes a `Ref' posts a question to an engine's thread and returns at once; the answer comes as the
%% message `{Ref, Result}', exactly once, unless the function gave something else than `ok' (or `{ok, _}').
-module(weft_nif).

-on_load(init/0).

-export([
    engine_start/4,
    engine_stop/2,
    engine_stats/2,
    stats/0,
    set_buffer_cap/1,
    option_table/0,
    stat_table/0,
    version/0,
    error_text/1,
    config_new/2,
    config_fingerprint/1,
    listen/6,
    listener_accept/3,
    listener_mode/3,
    listener_reload/3,
    listener_stop/4,
    listener_info/2,
    listener_cancel/2,
    connect/6,
    conn_close/5,
    conn_wait/2,
    conn_mode/3,
    conn_set/5,
    conn_accept_stream/3,
    conn_open_stream/5,
    conn_cancel/2,
    conn_get/3,
    conn_do/6,
    conn_datagram/4,
    conn_recv_datagram/2,
    stream_send/4,
    stream_wait_writable/2,
    stream_wait_finished/2,
    stream_recv/3,
    stream_mode/3,
    stream_set/5,
    stream_end/4,
    stream_get/3,
    stream_cancel/2,
    stream_id/1,
    give_begin/2,
    give_end/4
]).

%% Of struct layouts, as in nif.c.
-define(LOAD_VERSION, 1).
-define(MISSING, erlang:nif_error({not_loaded, ?MODULE})).

init() ->
    erlang:load_nif(filename:join(priv_dir(), "weft_nif"), ?LOAD_VERSION).

priv_dir() ->
    case code:priv_dir(weft_nif) of
        {error, bad_name} ->
            filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv");
        Dir ->
            Dir
    end.

-spec engine_start(term(), term(), term(), term()) -> term().
engine_start(_, _, _, _) -> ?MISSING.

-spec engine_stop(term(), term()) -> term().
engine_stop(_, _) -> ?MISSING.

-spec engine_stats(term(), term()) -> term().
engine_stats(_, _) -> ?MISSING.

-spec stats() -> term().
stats() -> ?MISSING.

-spec set_buffer_cap(term()) -> term().
set_buffer_cap(_) -> ?MISSING.

-spec option_table() -> term().
option_table() -> ?MISSING.

-spec stat_table() -> term().
stat_table() -> ?MISSING.

-spec version() -> term().
version() -> ?MISSING.

-spec error_text(term()) -> term().
error_text(_) -> ?MISSING.

-spec config_new(term(), term()) -> term().
config_new(_, _) -> ?MISSING.

-spec config_fingerprint(term()) -> term().
config_fingerprint(_) -> ?MISSING.

-spec listen(term(), term(), term(), term(), term(), term()) -> term().
listen(_, _, _, _, _, _) -> ?MISSING.

-spec listener_accept(term(), term(), term()) -> term().
listener_accept(_, _, _) -> ?MISSING.

-spec listener_mode(term(), term(), term()) -> term().
listener_mode(_, _, _) -> ?MISSING.

-spec listener_reload(term(), term(), term()) -> term().
listener_reload(_, _, _) -> ?MISSING.

-spec listener_stop(term(), term(), term(), term()) -> term().
listener_stop(_, _, _, _) -> ?MISSING.

-spec listener_info(term(), term()) -> term().
listener_info(_, _) -> ?MISSING.

-spec listener_cancel(term(), term()) -> term().
listener_cancel(_, _) -> ?MISSING.

-spec connect(term(), term(), term(), term(), term(), term()) -> term().
connect(_, _, _, _, _, _) -> ?MISSING.

-spec conn_close(term(), term(), term(), term(), term()) -> term().
conn_close(_, _, _, _, _) -> ?MISSING.

-spec conn_wait(term(), term()) -> term().
conn_wait(_, _) -> ?MISSING.

-spec conn_mode(term(), term(), term()) -> term().
conn_mode(_, _, _) -> ?MISSING.

-spec conn_set(term(), term(), term(), term(), term()) -> term().
conn_set(_, _, _, _, _) -> ?MISSING.

-spec conn_accept_stream(term(), term(), term()) -> term().
conn_accept_stream(_, _, _) -> ?MISSING.

-spec conn_open_stream(term(), term(), term(), term(), term()) -> term().
conn_open_stream(_, _, _, _, _) -> ?MISSING.

-spec conn_cancel(term(), term()) -> term().
conn_cancel(_, _) -> ?MISSING.

-spec conn_get(term(), term(), term()) -> term().
conn_get(_, _, _) -> ?MISSING.

-spec conn_do(term(), term(), term(), term(), term(), term()) -> term().
conn_do(_, _, _, _, _, _) -> ?MISSING.

-spec conn_datagram(term(), term(), term(), term()) -> term().
conn_datagram(_, _, _, _) -> ?MISSING.

-spec conn_recv_datagram(term(), term()) -> term().
conn_recv_datagram(_, _) -> ?MISSING.

-spec stream_send(term(), term(), term(), term()) -> term().
stream_send(_, _, _, _) -> ?MISSING.

-spec stream_wait_writable(term(), term()) -> term().
stream_wait_writable(_, _) -> ?MISSING.

-spec stream_wait_finished(term(), term()) -> term().
stream_wait_finished(_, _) -> ?MISSING.

-spec stream_recv(term(), term(), term()) -> term().
stream_recv(_, _, _) -> ?MISSING.

-spec stream_mode(term(), term(), term()) -> term().
stream_mode(_, _, _) -> ?MISSING.

-spec stream_set(term(), term(), term(), term(), term()) -> term().
stream_set(_, _, _, _, _) -> ?MISSING.

-spec stream_end(term(), term(), term(), term()) -> term().
stream_end(_, _, _, _) -> ?MISSING.

-spec stream_get(term(), term(), term()) -> term().
stream_get(_, _, _) -> ?MISSING.

-spec stream_cancel(term(), term()) -> term().
stream_cancel(_, _) -> ?MISSING.

-spec stream_id(term()) -> term().
stream_id(_) -> ?MISSING.

-spec give_begin(term(), term()) -> term().
give_begin(_, _) -> ?MISSING.

-spec give_end(term(), term(), term(), term()) -> term().
give_end(_, _, _, _) -> ?MISSING.
