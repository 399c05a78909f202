%% @doc QUIC connections and streams, in the manner of `gen_tcp' and `ssl'.
%%
%% A client:
%%
%% ```
%% {ok, C} = weft:connect("example.org", 4433, #{alpn => ["hq-interop"]}),
%% {ok, S} = weft:open_stream(C),
%% ok = weft:send_fin(S, <<"GET /\r\n">>),
%% {ok, Data} = weft:recv(S),
%% ok = weft:close(C).
%% '''
%%
%% A server:
%%
%% ```
%% {ok, L} = weft:listen(4433, #{alpn => ["echo"], certfile => "cert.pem", keyfile => "key.pem"}),
%% {ok, C} = weft:accept(L),
%% {ok, S} = weft:accept_stream(C),
%% {ok, Data} = weft:recv(S),
%% ok = weft:send(S, Data).
%% '''
%%
%% == Messages ==
%% Nothing arrives in a mailbox unasked. Each handle has a mode, `active', with the meaning it has in `inet': `false'
%% (nothing), `true', `once', or a number of messages, after which `{weft_passive, Handle}' comes. An owner, the process
%% that opened or accepted the object or was given it with {@link controlling_process/2}, gets:
%%
%% <ul>
%% <li>of a stream `{weft, S, Data}' (counted), `{weft_fin, S}', `{weft_reset, S, Code}', `{weft_stopped, S, Code}',
%%     `{weft_closed, S, normal | Close}';</li>
%% <li>of a connection `{weft_stream, C, S}' and `{weft_datagram, C, Data}' (both counted), `{weft_connected, C}',
%%     `{weft_confirmed, C}', `{weft_session, C, Session}', `{weft_token, C, Token}',
%%     `{weft_path, C, validated | failed | active, {Local, Remote}}', `{weft_streams, C}',
%%     `{weft_datagram_outcome, C, Token, Outcome}', `{weft_datagram_room, C}', `{weft_closed, C, Close}';</li>
%% <li>of a listener `{weft_conn, L, C}' (counted), `{weft_closed, L, normal}';</li>
%% <li>and, whatever the mode, `{weft_writable, S}' after `{error, busy}'.</li>
%% </ul>
%%
%% `Close' is a map: `#{cause, layer, code, reason, error, frame_type}'.
-module(weft).

-export([
    connect/2, connect/3, connect/4,
    listen/2, listen_all/2, accept/1, accept/2, accept/3, reload/2, stop/1, stop/2,
    handshake/1, handshake/2,
    open_stream/1, open_stream/2, open_stream/3,
    accept_stream/1, accept_stream/2, accept_stream/3,
    send/2, send/3, send_fin/1, send_fin/2, send_fin/3, await_finished/1, await_finished/2,
    recv/1, recv/2, recv/3,
    shutdown/2, shutdown/3, reset/1, reset/2, stop_sending/1, stop_sending/2,
    close/1, close/2, close/3, close_transport/3,
    setopts/2, getopts/2, controlling_process/2,
    peername/1, sockname/1, peercert/1, info/1, stats/1, path_stats/1, all_path_stats/1, draining/1, session/1, token/1, stream_id/1,
    send_datagram/2, send_datagram/3, recv_datagram/1, recv_datagram/2, max_datagram/1,
    migrate/1, migrate/2, probe/2, update_keys/1, ping/1, export_key/4,
    options/0, live/0, engine_stats/0, version/0, format_error/1, fingerprint/1
]).

-export_type([conn/0, stream/0, listener/0, handle/0, active/0, close_info/0, reason/0, address/0]).

-opaque conn() :: {weft_conn, reference()}.
-opaque stream() :: {weft_stream, reference(), non_neg_integer()}.
-opaque listener() :: {weft_listener, reference()}.
-type handle() :: conn() | stream() | listener().
-type active() :: boolean() | once | -32768..32767.
-type options() :: map() | [{atom(), term()}].
-type address() :: {inet:ip_address(), inet:port_number()}.
-type code() :: 0..16#3fffffffffffffff.
-type close_info() :: #{
    cause := none | local | peer | idle_timeout | handshake_timeout | protocol | reset | version | internal | connect,
    layer := application | transport,
    code := non_neg_integer(),
    reason := binary(),
    error := atom(),
    frame_type := non_neg_integer()
}.
-type reason() ::
    closed
    | {closed, close_info()}
    | timeout
    | fin
    | {reset, code()}
    | {stopped, code()}
    | busy
    | not_owner
    | einval
    | {options, binary()}
    | {atom(), binary()}
    | atom().

-include("weft_ask.hrl").

%% The same with a time-out: then the question is taken back, unless it was answered meanwhile.
-define(ASK_FOR(Ref, Timeout, Call, Cancel),
    ?ASKED(Ref, Call, receive {Ref, Answer__} -> Answer__ after Timeout -> take_back(Ref, Cancel) end)
).

take_back(Ref, ok) ->
    receive
        {Ref, Answer} -> Answer
    end;
take_back(Ref, closed) ->
    %% Its engine has stopped, and has answered everybody.
    receive
        {Ref, Answer} -> Answer
    after 0 -> {error, closed}
    end.

%%% connecting

%% @equiv connect(Host, Port, #{})
-spec connect(inet:hostname() | inet:ip_address() | binary(), inet:port_number()) ->
    {ok, conn()} | {error, reason()}.
connect(Host, Port) -> connect(Host, Port, #{}).

%% @doc Connects. The caller is the owner. Options: see {@link weft_options}, and `active', `stream_active' (the mode of
%% its streams), `high_watermark', `low_watermark', `timeout', `family', `session', `token', and `wait': with `false' the
%% connection is returned at once, for early data; {@link handshake/1} waits for the rest.
-spec connect(inet:hostname() | inet:ip_address() | binary(), inet:port_number(), options()) ->
    {ok, conn()} | {error, reason()}.
connect(Host, Port, Options) -> weft_open:connect(Host, Port, Options, undefined).

%% @doc The same, with a time-out in milliseconds in place of the option `timeout'. Errors: `{options, Text}'; `{Name,
%% Text}' with a name of docs/errors.md, when the system or TLS refuses to begin; `{closed, Close}' when the handshake
%% fails, and how; `timeout', after which nothing of the attempt is left; `closed' when weft_nif does not run.
-spec connect(inet:hostname() | inet:ip_address() | binary(), inet:port_number(), options(), timeout()) ->
    {ok, conn()} | {error, reason()}.
connect(Host, Port, Options, Timeout) -> weft_open:connect(Host, Port, Options, Timeout).

%% @equiv handshake(Conn, infinity)
-spec handshake(conn()) -> {ok, conn()} | {error, reason()}.
handshake(Conn) -> handshake(Conn, infinity).

%% @doc Waits until the handshake is complete (RFC 9001 4.1.1), for at most so many milliseconds. For connections that were
%% returned early: `connect' with `wait => false', `listen' with `accept => handshake'. Errors: `{closed, Close}', `timeout'
%% (it goes on; ask again).
-spec handshake(conn(), timeout()) -> {ok, conn()} | {error, reason()}.
handshake(Conn, Timeout) ->
    case ?ASK_FOR(Ref, Timeout, weft_nif:conn_wait(Conn, Ref), weft_nif:conn_cancel(Conn, Ref)) of
        ok -> {ok, Conn};
        Error -> Error
    end.

%%% listening

%% @doc Listens on a UDP port (0: the system chooses), or on `{Ip, Port}'. The caller is the owner; when it dies the
%% listener stops. Options: see {@link weft_options}, and `ip', `active' (the listener's mode), `accept_active' and
%% `stream_active' (what its connections and their streams begin with), `backlog', `accept' (`connected', or `handshake'
%% to be given connections whose handshake has only begun), `ipv6_only', `reuse_port', watermarks as in connect.
-spec listen(inet:port_number() | address(), options()) -> {ok, listener()} | {error, reason()}.
listen(Where, Options) -> weft_open:listen(Where, Options).

%% @doc Listens on one port with all engines (application variable `engines'): one listener for each, in a list, so that
%% a server uses as many cores. The system spreads clients over them, and hands a connection's datagrams to its engine
%% even when the client's address changes. Each is accepted from by itself: let some processes accept from the first,
%% some from the second, and so on, or let a {@link weft_listener} with `engines => all' do it. {@link stop/2} and {@link
%% close/1} take the list. A listener that stops keeps its socket until all of them have stopped and have no connections
%% any more: sockets of one port must close together. Options are those of {@link listen/2}; `backlog' and the mode
%% `active' are for each; `engine' is not among them. Either all listen or none.
-spec listen_all(inet:port_number() | address(), options()) -> {ok, [listener(), ...]} | {error, reason()}.
listen_all(Where, Options) -> weft_open:listen_all(Where, Options).

%% @equiv accept(Listener, infinity)
-spec accept(listener()) -> {ok, conn()} | {error, reason()}.
accept(Listener) -> accept(Listener, infinity).

%% @doc The next connection; the caller becomes its owner. Waits for at most Timeout milliseconds. Any number of processes
%% may wait: the first that came is served first. Errors: `timeout'; `closed' when the listener has stopped.
-spec accept(listener(), timeout()) -> {ok, conn()} | {error, reason()}.
accept(Listener, Timeout) -> accept(Listener, Timeout, undefined).

%% @doc The same, with the mode the connection begins with.
-spec accept(listener(), timeout(), active() | undefined) -> {ok, conn()} | {error, reason()}.
accept(Listener, Timeout, Active) ->
    ?ASK_FOR(Ref, Timeout, weft_nif:listener_accept(Listener, Active, Ref), weft_nif:listener_cancel(Listener, Ref)).

%% @doc Connections accepted from now on have these options: new certificates without a pause. What is not given has its
%% default, not what it had. The API's own options (`ip', `active', ...) stay as they are and cannot be given. Errors:
%% `{options, Text}', `{tls, Text}', `closed'.
-spec reload(listener(), options()) -> ok | {error, reason()}.
reload(Listener, Options) ->
    case weft_options:parse(reload, Options, server) of
        {ok, Ops, _} ->
            case weft_open:config(server, Ops) of
                {ok, Config} -> ?ASK(Ref, weft_nif:listener_reload(Listener, Config, Ref));
                Error -> Error
            end;
        Error ->
            Error
    end.

%% @equiv stop(Listener, #{})
-spec stop(listener() | [listener()]) -> ok | {error, reason()}.
stop(Listener) -> stop(Listener, #{}).

%% @doc Stops a listener. `mode': `cascade' (unless given) closes its connections with `code' and returns when they are
%% gone; `drain' accepts no more and waits for its connections to end by themselves; `detach' accepts no more and leaves
%% connections alone. What is not over after `timeout' (cascade: 5000, drain: `infinity') is closed, or left to itself.
%% Times are milliseconds. A list is what {@link listen_all/2} gave: all of them stop accepting before one is waited for.
-spec stop(listener() | [listener()], #{mode => cascade | drain | detach, code => code(), timeout => timeout()}) ->
    ok | {error, reason()}.
stop(Listeners, Options) when is_list(Listeners) ->
    Detached = [stop(L, #{mode => detach}) || L <- Listeners],
    Results = [stop(L, Options) || L <- Listeners, maps:get(mode, Options, cascade) =/= detach],
    case [Error || {error, _} = Error <- Detached ++ Results, Error =/= {error, closed}] of
        [] -> ok;
        [Error | _] -> Error
    end;
stop(Listener, Options) ->
    Code = maps:get(code, Options, 0),
    case maps:get(mode, Options, cascade) of
        detach ->
            ?ASK(Ref, weft_nif:listener_stop(Listener, 0, Code, Ref));
        cascade ->
            Timeout = maps:get(timeout, Options, 5000),
            ?ASK_FOR(Ref, Timeout, weft_nif:listener_stop(Listener, 3, Code, Ref), weft_nif:listener_cancel(Listener, Ref));
        drain ->
            case stop_drain(Listener, Code, maps:get(timeout, Options, infinity)) of
                {error, timeout} -> stop(Listener, #{mode => cascade, code => Code});
                Result -> Result
            end
    end.

stop_drain(Listener, Code, Timeout) ->
    ?ASK_FOR(Ref, Timeout, weft_nif:listener_stop(Listener, 2, Code, Ref), weft_nif:listener_cancel(Listener, Ref)).

%%% streams

%% @equiv open_stream(Conn, #{})
-spec open_stream(conn()) -> {ok, stream()} | {error, reason()}.
open_stream(Conn) -> open_stream(Conn, #{}).

%% @doc Opens a stream; the caller becomes its owner. Options: `type' (`bidi', `uni'), `active', `wait' (`false':
%% `{error, stream_limit}' when the peer allows no more now, instead of waiting), `urgency', `incremental'.
-spec open_stream(conn(), map() | bidi | uni) -> {ok, stream()} | {error, reason()}.
open_stream(Conn, Options) -> open_stream(Conn, Options, infinity).

%% @doc The same, with a time-out in milliseconds for the peer's leave (RFC 9000 4.6). Errors: `{closed, Close}'; `timeout',
%% and no stream was opened; `stream_limit' with `wait => false', after which `{weft_streams, Conn}' tells an active owner
%% when to try again; `state' while the handshake is under way, unless there is early data.
-spec open_stream(conn(), map() | bidi | uni, timeout()) -> {ok, stream()} | {error, reason()}.
open_stream(Conn, Type, Timeout) when is_atom(Type) -> open_stream(Conn, #{type => Type}, Timeout);
open_stream(Conn, Options, Timeout) ->
    case stream_options(Options) of
        ok ->
            Type = maps:get(type, Options, bidi),
            Active = maps:get(active, Options, undefined),
            Wait = maps:get(wait, Options, true),
            Result = ?ASK_FOR(
                Ref,
                Timeout,
                weft_nif:conn_open_stream(Conn, Type, Active, Wait, Ref),
                weft_nif:conn_cancel(Conn, Ref)
            ),
            opened(Result, maps:with([urgency, incremental], Options));
        Error ->
            Error
    end.

opened({ok, Stream}, Set) when map_size(Set) > 0 ->
    case setopts(Stream, Set) of
        ok -> {ok, Stream};
        Error -> Error
    end;
opened(Result, _) ->
    Result.

stream_options(Options) ->
    case maps:keys(maps:without([type, active, wait, urgency, incremental], Options)) of
        [] -> ok;
        [Name | _] -> unknown(Name)
    end.

unknown(Name) -> {error, {options, iolist_to_binary(io_lib:format("unknown option ~tp", [Name]))}}.

%% @equiv accept_stream(Conn, infinity)
-spec accept_stream(conn()) -> {ok, stream()} | {error, reason()}.
accept_stream(Conn) -> accept_stream(Conn, infinity).

%% @doc The next stream the peer opens; the caller becomes its owner. Waits for at most Timeout milliseconds. Errors:
%% `timeout', `{closed, Close}'. Streams that had arrived with data when the peer closed the connection, or went silent, can
%% still be accepted and read; after `close/1' there are none.
-spec accept_stream(conn(), timeout()) -> {ok, stream()} | {error, reason()}.
accept_stream(Conn, Timeout) -> accept_stream(Conn, Timeout, undefined).

%% @doc The same, with the mode the stream begins with.
-spec accept_stream(conn(), timeout(), active() | undefined) -> {ok, stream()} | {error, reason()}.
accept_stream(Conn, Timeout, Active) ->
    ?ASK_FOR(Ref, Timeout, weft_nif:conn_accept_stream(Conn, Active, Ref), weft_nif:conn_cancel(Conn, Ref)).

%% @equiv send(Stream, Data, infinity)
-spec send(stream(), iodata()) -> ok | {error, reason()}.
send(Stream, Data) -> send(Stream, Data, infinity).

%% @doc Sends. Returns when the bytes are accepted, which is at once as long as fewer than the high watermark wait, and
%% else when no more than the low watermark does. `nowait': `{error, busy}' instead of waiting, nothing is taken, and
%% `{weft_writable, Stream}' follows. After `{error, timeout}' (milliseconds) nothing of Data was taken, unless Data is a
%% list of more than 64 KiB, of which a part may have been. Binaries of 16 KiB and more are not copied. Accepted is not
%% received: {@link await_finished/2} tells that. Any process may send. Errors: `{stopped, Code}' when the peer wants no
%% more (RFC 9000 3.5), `stream_closed' after the end or a reset, `{closed, Close}', `closed'.
-spec send(stream(), iodata(), timeout() | nowait) -> ok | {error, reason()}.
send(Stream, Data, Timeout) -> send_all(Stream, Data, false, Timeout).

%% @doc Ends our direction.
-spec send_fin(stream()) -> ok | {error, reason()}.
send_fin(Stream) -> send_all(Stream, <<>>, true, infinity).

%% @doc Sends and ends our direction.
-spec send_fin(stream(), iodata()) -> ok | {error, reason()}.
send_fin(Stream, Data) -> send_all(Stream, Data, true, infinity).

%% @doc The same, with {@link send/3}'s time-out. After an error our direction is not ended.
-spec send_fin(stream(), iodata(), timeout() | nowait) -> ok | {error, reason()}.
send_fin(Stream, Data, Timeout) -> send_all(Stream, Data, true, Timeout).

-define(AT_ONCE, 65536).

send_all(Stream, Data, Fin, Timeout) when is_binary(Data) ->
    send_one(Stream, Data, Fin, Timeout);
send_all(Stream, Data, Fin, Timeout) ->
    case iolist_size(Data) =< ?AT_ONCE of
        true -> send_one(Stream, Data, Fin, Timeout);
        false -> send_parts(Stream, erlang:iolist_to_iovec(Data), Fin, Timeout)
    end.

send_parts(Stream, [Last], Fin, Timeout) ->
    send_one(Stream, Last, Fin, Timeout);
send_parts(Stream, [Part | Parts], Fin, Timeout) ->
    case send_one(Stream, Part, false, Timeout) of
        %% Some of it is under way: the rest must wait.
        ok when Timeout =:= nowait -> send_parts(Stream, Parts, Fin, infinity);
        ok -> send_parts(Stream, Parts, Fin, Timeout);
        Error -> Error
    end.

send_one(Stream, Data, Fin, Timeout) ->
    case weft_nif:stream_send(Stream, Data, Fin, Timeout =:= nowait) of
        ok -> ok;
        busy when Timeout =:= nowait -> {error, busy};
        busy -> send_later(Stream, Data, Fin, Timeout);
        fault -> ?ASK(Ref, weft_nif:stream_get(Stream, send_fault, Ref));
        closed -> {error, closed};
        error -> {error, nomem}
    end.

send_later(Stream, Data, Fin, Timeout) ->
    Began = erlang:monotonic_time(millisecond),
    case ?ASK_FOR(Ref, Timeout, weft_nif:stream_wait_writable(Stream, Ref), weft_nif:stream_cancel(Stream, Ref)) of
        ok -> send_one(Stream, Data, Fin, left(Timeout, Began));
        Error -> Error
    end.

left(infinity, _) -> infinity;
left(Timeout, Began) -> max(0, Timeout - (erlang:monotonic_time(millisecond) - Began)).

%% @equiv await_finished(Stream, infinity)
-spec await_finished(stream()) -> ok | {error, reason()}.
await_finished(Stream) -> await_finished(Stream, infinity).

%% @doc After {@link send_fin/2}: waits until the peer's side has acknowledged everything (not: until its application has
%% read it), for at most so many milliseconds. Errors: `timeout', `{stopped, Code}', `stream_closed' after a reset,
%% `{closed, Close}'.
-spec await_finished(stream(), timeout()) -> ok | {error, reason()}.
await_finished(Stream, Timeout) ->
    ?ASK_FOR(Ref, Timeout, weft_nif:stream_wait_finished(Stream, Ref), weft_nif:stream_cancel(Stream, Ref)).

%% @equiv recv(Stream, 0, infinity)
-spec recv(stream()) -> {ok, binary()} | {error, reason()}.
recv(Stream) -> recv(Stream, 0, infinity).

%% @equiv recv(Stream, Length, infinity)
-spec recv(stream(), non_neg_integer()) -> {ok, binary()} | {error, reason()}.
recv(Stream, Length) -> recv(Stream, Length, infinity).

%% @doc Receives from a stream whose mode is `false': Length bytes, or, with 0, what there is, up to 64 KiB. Fewer than
%% Length only when the stream ends before. Its end is `{error, fin}', a reset `{error, {reset, Code}}'. What a recv that
%% timed out had is kept for the next one. What had arrived when the connection was closed can still be received. Length
%% is at most 64 MiB.
-spec recv(stream(), non_neg_integer(), timeout()) -> {ok, binary()} | {error, reason()}.
recv(_, Length, _) when Length > 16#4000000 ->
    {error, enomem};
recv(Stream, Length, Timeout) ->
    ?ASK_FOR(Ref, Timeout, weft_nif:stream_recv(Stream, Length, Ref), weft_nif:stream_cancel(Stream, Ref)).

%% @equiv shutdown(Stream, How, 0)
-spec shutdown(stream(), read | write | read_write) -> ok | {error, reason()}.
shutdown(Stream, How) -> shutdown(Stream, How, 0).

%% @doc `write': no more is sent, after what is under way (FIN). `read': the peer is asked to send no more, with this
%% code.
-spec shutdown(stream(), read | write | read_write, code()) -> ok | {error, reason()}.
shutdown(Stream, write, _) -> finish(Stream);
shutdown(Stream, read, Code) -> stop_sending(Stream, Code);
shutdown(Stream, read_write, Code) ->
    case finish(Stream) of
        ok -> stop_sending(Stream, Code);
        Error -> Error
    end.

finish(Stream) ->
    case send_fin(Stream) of
        {error, stream_closed} -> ok;
        Result -> Result
    end.

%% @equiv reset(Stream, 0)
-spec reset(stream()) -> ok | {error, reason()}.
reset(Stream) -> reset(Stream, 0).

%% @doc Breaks our direction off with an application error code (RESET_STREAM, RFC 9000 19.4). What waits is not sent. Of a
%% direction that has ended nothing is left to break off: `ok'.
-spec reset(stream(), code()) -> ok | {error, reason()}.
reset(Stream, Code) -> ?ASK(Ref, weft_nif:stream_end(Stream, 1, Code, Ref)).

%% @equiv stop_sending(Stream, 0)
-spec stop_sending(stream()) -> ok | {error, reason()}.
stop_sending(Stream) -> stop_sending(Stream, 0).

%% @doc Asks the peer to send no more, with an application error code (STOP_SENDING, RFC 9000 19.5). What still comes is
%% dropped, and `recv' gives `stream_closed'.
-spec stop_sending(stream(), code()) -> ok | {error, reason()}.
stop_sending(Stream, Code) -> ?ASK(Ref, weft_nif:stream_end(Stream, 2, Code, Ref)).

%%% closing

%% @doc Closes. A stream: what is under way is still sent, then its end; the peer is asked to send no more. A connection:
%% at once, with code 0. A listener: see {@link stop/1}.
-spec close(handle() | [listener()]) -> ok | {error, reason()}.
close(Listeners) when is_list(Listeners) ->
    stop(Listeners);
close({weft_stream, _, _} = Stream) ->
    _ = finish(Stream),
    stop_sending(Stream, 0);
close({weft_listener, _} = Listener) ->
    stop(Listener);
close(Conn) ->
    close(Conn, 0, <<>>).

%% @doc With an application error code. A stream is reset, and the peer asked to send no more.
-spec close(handle(), code()) -> ok | {error, reason()}.
close({weft_stream, _, _} = Stream, Code) -> ?ASK(Ref, weft_nif:stream_end(Stream, 4, Code, Ref));
close({weft_listener, _} = Listener, Code) -> stop(Listener, #{code => Code});
close(Conn, Code) -> close(Conn, Code, <<>>).

%% @doc A connection, with an application error code and a reason, of which 128 bytes are sent.
-spec close(conn(), code(), iodata()) -> ok | {error, reason()}.
close(Conn, Code, Reason) ->
    ?ASK(Ref, weft_nif:conn_close(Conn, Code, iolist_to_binary(Reason), 0, Ref)).

%% @doc The same with a transport error code (RFC 9000 20.1).
-spec close_transport(conn(), code(), iodata()) -> ok | {error, reason()}.
close_transport(Conn, Code, Reason) ->
    ?ASK(Ref, weft_nif:conn_close(Conn, Code, iolist_to_binary(Reason), 1, Ref)).

%%% options of what exists

%% @doc Sets options. All: `active'. Streams: `high_watermark' and `low_watermark', `urgency' (0 to 7) and `incremental',
%% `deadline' (milliseconds from now, `{Ms, Code}', or `infinity'). Connections: `stream_active', `high_watermark' and
%% `low_watermark', for streams to come.
-spec setopts(handle(), options()) -> ok | {error, reason()}.
setopts(Handle, [{active, Mode}]) -> set_active(Handle, Mode);
setopts(Handle, #{active := Mode} = Map) when map_size(Map) =:= 1 -> set_active(Handle, Mode);
setopts(Handle, Options) ->
    Map = if is_map(Options) -> Options; true -> proplists:to_map(Options) end,
    Unknown = maps:keys(maps:without(settable(Handle), Map)),
    case Unknown of
        [] -> set_each(Handle, Map, [fun set_marks/2, fun set_priority/2, fun set_deadline/2, fun set_last/2]);
        [Name | _] -> unknown(Name)
    end.

settable({weft_stream, _, _}) -> [active, high_watermark, low_watermark, urgency, incremental, deadline];
settable({weft_conn, _}) -> [active, stream_active, high_watermark, low_watermark];
settable({weft_listener, _}) -> [active].

set_each(_, _, []) -> ok;
set_each(Handle, Map, [Set | Sets]) ->
    case Set(Handle, Map) of
        ok -> set_each(Handle, Map, Sets);
        Error -> Error
    end.

%% Of a stream only {active, N} can be refused: the others need no answer.
set_active({weft_stream, _, _} = Stream, N) when is_integer(N) ->
    ?ASK(Ref, weft_nif:stream_mode(Stream, N, Ref));
set_active({weft_stream, _, _} = Stream, Mode) ->
    case weft_nif:stream_mode(Stream, Mode, undefined) of
        ok -> ok;
        closed -> {error, closed};
        error -> {error, nomem}
    end;
set_active({weft_conn, _} = Conn, Mode) -> ?ASK(Ref, weft_nif:conn_mode(Conn, Mode, Ref));
set_active({weft_listener, _} = Listener, Mode) -> ?ASK(Ref, weft_nif:listener_mode(Listener, Mode, Ref)).

set_last(Handle, #{active := Mode}) -> set_active(Handle, Mode);
set_last(_, _) -> ok.

set_marks({weft_stream, _, _} = Stream, Map) ->
    set_changed(Stream, [high_watermark, low_watermark], Map, fun(#{high_watermark := High, low_watermark := Low}) ->
        ?ASK(Ref, weft_nif:stream_set(Stream, watermarks, High, Low, Ref))
    end);
set_marks({weft_conn, _} = Conn, Map) ->
    set_changed(Conn, [stream_active, high_watermark, low_watermark], Map, fun(New) ->
        #{stream_active := Active, high_watermark := High, low_watermark := Low} = New,
        ?ASK(Ref, weft_nif:conn_set(Conn, Active, High, Low, Ref))
    end);
set_marks(_, _) ->
    ok.

set_priority(Stream, Map) ->
    set_changed(Stream, [urgency, incremental], Map, fun(#{urgency := Urgency, incremental := Incremental}) ->
        ?ASK(Ref, weft_nif:stream_set(Stream, priority, Urgency, if Incremental -> 1; true -> 0 end, Ref))
    end).

%% Several values that are set together: those not given stay.
set_changed(Handle, Names, Map, Set) ->
    case maps:with(Names, Map) of
        Given when map_size(Given) =:= 0 ->
            ok;
        Given ->
            case info(Handle) of
                {ok, Now} -> Set(maps:merge(Now, Given));
                Error -> Error
            end
    end.

set_deadline(Stream, #{deadline := infinity}) -> set_deadline_ns(Stream, 16#ffffffffffffffff, 0);
set_deadline(Stream, #{deadline := {Ms, Code}}) -> set_deadline_ns(Stream, Ms * 1000000, Code);
set_deadline(Stream, #{deadline := Ms}) -> set_deadline_ns(Stream, Ms * 1000000, 0);
set_deadline(_, _) -> ok.

set_deadline_ns(Stream, Ns, Code) -> ?ASK(Ref, weft_nif:stream_set(Stream, deadline, Ns, Code, Ref)).

%% @doc Options as they are, of those that {@link setopts/2} sets, and all that {@link info/1} knows.
-spec getopts(handle(), [atom()]) -> {ok, [{atom(), term()}]} | {error, reason()}.
getopts(Handle, Names) ->
    case info(Handle) of
        {ok, Info} ->
            case [Name || Name <- Names, not maps:is_key(Name, Info)] of
                [] -> {ok, [{Name, maps:get(Name, Info)} || Name <- Names]};
                [Name | _] -> unknown(Name)
            end;
        Error ->
            Error
    end.

%% @doc Makes another process the owner. Only the owner may. Messages about it that are in the caller's mailbox go with
%% it, in their order and before all that follow; streams of a connection's `weft_stream' messages, too.
-spec controlling_process(handle(), pid()) -> ok | {error, reason()}.
controlling_process(Handle, Pid) ->
    case give_begin(Handle) of
        ok when Pid =:= self() ->
            give_end(Handle, Pid, []);
        ok ->
            Messages = collect(Handle, []),
            _ = [controlling_process(S, Pid) || {weft_stream, _, S} <- Messages],
            give_end(Handle, Pid, Messages);
        Error ->
            Error
    end.

give_begin(Handle) -> ?ASK(Ref, weft_nif:give_begin(Handle, Ref)).

give_end(Handle, Pid, Messages) -> ?ASK(Ref, weft_nif:give_end(Handle, Pid, Messages, Ref)).

-define(IS_OURS(Tag),
    Tag =:= weft;
    Tag =:= weft_fin;
    Tag =:= weft_reset;
    Tag =:= weft_stopped;
    Tag =:= weft_passive;
    Tag =:= weft_writable;
    Tag =:= weft_closed;
    Tag =:= weft_stream;
    Tag =:= weft_conn;
    Tag =:= weft_datagram;
    Tag =:= weft_connected;
    Tag =:= weft_confirmed;
    Tag =:= weft_session;
    Tag =:= weft_token;
    Tag =:= weft_path;
    Tag =:= weft_streams;
    Tag =:= weft_datagram_outcome;
    Tag =:= weft_datagram_room
).

collect(Handle, Acc) ->
    receive
        {Tag, Handle} = M when ?IS_OURS(Tag) -> collect(Handle, [M | Acc]);
        {Tag, Handle, _} = M when ?IS_OURS(Tag) -> collect(Handle, [M | Acc]);
        {Tag, Handle, _, _} = M when ?IS_OURS(Tag) -> collect(Handle, [M | Acc])
    after 0 -> lists:reverse(Acc)
    end.

%%% knowing

%% @doc The address of a connection's peer, or of a stream's. It may change (RFC 9000 9). Errors: `{closed, Close}'.
-spec peername(conn() | stream()) -> {ok, address()} | {error, reason()}.
peername(Handle) -> of_conn(Handle, peername).

%% @doc Our address; of a listener, the one it is bound to.
-spec sockname(handle()) -> {ok, address()} | {error, reason()}.
sockname({weft_listener, _} = Listener) ->
    case info(Listener) of
        {ok, #{sockname := Address}} -> {ok, Address};
        Error -> Error
    end;
sockname(Handle) -> of_conn(Handle, sockname).

%% @doc The certificate the peer has shown, DER; of a client only if it was asked for one (`verify_peer' of the server).
-spec peercert(conn() | stream()) -> {ok, public_key:der_encoded()} | {error, no_peercert | reason()}.
peercert(Handle) -> of_conn(Handle, peercert).

%% @doc What is known about it, as a map. Times are nanoseconds. Of a connection: its state, `alpn', `cipher', `resumed',
%% versions, modes, its owner and its `engine'; of a stream: `id', `conn', both directions' states, bytes `written',
%% `acknowledged', `received', `taken', modes, watermarks, priority; of a listener: `sockname', `connections', `queued',
%% `backlog', `engine'. Errors: `closed', `{closed, Close}'.
-spec info(handle()) -> {ok, map()} | {error, reason()}.
info({weft_stream, _, _} = Stream) -> ?ASK(Ref, weft_nif:stream_get(Stream, info, Ref));
info({weft_listener, _} = Listener) -> ?ASK(Ref, weft_nif:listener_info(Listener, Ref));
info(Conn) -> of_conn(Conn, info).

%% @doc A connection's counters (docs/stats.md); of one that has ended, the last.
-spec stats(conn() | stream()) -> {ok, map()} | {error, reason()}.
stats(Handle) -> of_conn(Handle, stats).

%% @doc The path in use: addresses, round-trip times, congestion window, MTU, ECN state, and its counters (docs/stats.md).
-spec path_stats(conn() | stream()) -> {ok, map()} | {error, reason()}.
path_stats(Handle) -> of_conn(Handle, path).

%% @doc The same of all paths: the one in use, others there are, and the newest that are gone (`use': `in_use', `spare', `gone').
-spec all_path_stats(conn() | stream()) -> {ok, [map()]} | {error, reason()}.
all_path_stats(Handle) -> of_conn(Handle, paths).

%% @doc How long a connection that was closed, by either side, still is in its closing or draining period (RFC 9000
%% 10.2), in which late packets of the peer are recognised: nanoseconds; 0 when it is open, or that is over.
-spec draining(conn()) -> {ok, non_neg_integer()} | {error, reason()}.
draining(Conn) -> of_conn(Conn, draining).

%% @doc Client: the newest session, to resume it with option `session' of a later connection.
-spec session(conn()) -> {ok, binary()} | {error, no_session | reason()}.
session(Conn) -> of_conn(Conn, session).

%% @doc Client: the newest address token, for option `token' of a later connection.
-spec token(conn()) -> {ok, binary()} | {error, no_token | reason()}.
token(Conn) -> of_conn(Conn, token).

%% @doc The stream's ID (RFC 9000 2.1).
-spec stream_id(stream()) -> non_neg_integer().
stream_id({weft_stream, _, Id}) -> Id.

of_conn({weft_stream, _, _} = Stream, What) ->
    case info(Stream) of
        {ok, #{conn := Conn}} -> of_conn(Conn, What);
        Error -> Error
    end;
of_conn(Conn, What) ->
    ?ASK(Ref, weft_nif:conn_get(Conn, What, Ref)).

%%% datagrams

%% @doc Sends a datagram (RFC 9221). It arrives whole or not at all.
-spec send_datagram(conn(), iodata()) -> ok | {error, reason()}.
send_datagram(Conn, Data) ->
    ?ASK(Ref, weft_nif:conn_datagram(Conn, Data, 0, Ref)).

%% @doc The same; with `nowait' errors are not told. A number above 0 has the owner told what became of it:
%% `{weft_datagram_outcome, Conn, Number, sent | acked | lost | dropped}', if its mode is active.
-spec send_datagram(conn(), iodata(), nowait | pos_integer()) -> ok | {error, reason()}.
send_datagram(Conn, Data, nowait) ->
    case weft_nif:conn_datagram(Conn, Data, 0, undefined) of
        ok -> ok;
        closed -> {error, closed};
        error -> {error, nomem}
    end;
send_datagram(Conn, Data, Token) ->
    ?ASK(Ref, weft_nif:conn_datagram(Conn, Data, Token, Ref)).

%% @equiv recv_datagram(Conn, infinity)
-spec recv_datagram(conn()) -> {ok, binary()} | {error, reason()}.
recv_datagram(Conn) -> recv_datagram(Conn, infinity).

%% @doc The next datagram. Those that wait are bounded by `datagram_receive_queue' and `datagram_queue_count'; the oldest
%% go first.
-spec recv_datagram(conn(), timeout()) -> {ok, binary()} | {error, reason()}.
recv_datagram(Conn, Timeout) ->
    ?ASK_FOR(Ref, Timeout, weft_nif:conn_recv_datagram(Conn, Ref), weft_nif:conn_cancel(Conn, Ref)).

%% @doc Most bytes a datagram may have now.
-spec max_datagram(conn()) -> {ok, non_neg_integer()} | {error, reason()}.
max_datagram(Conn) -> of_conn(Conn, datagram_max).

%%% the connection at large

%% @doc Client: moves to a new port of its own (RFC 9000 9.2). Errors: `state' of a server, before `{weft_confirmed, C}', or
%% when the server does not want clients to move; `blocked' when it has given no unused connection ID yet: try again;
%% `address', `io', `{closed, Close}'.
-spec migrate(conn()) -> ok | {error, reason()}.
migrate(Conn) -> do(Conn, migrate, <<>>, 0, 0).

%% @doc Client: moves to another address of its own, `Ip' or `{Ip, Port}'; `{weft_path, ...}' tells how it went.
-spec migrate(conn(), inet:ip_address() | address() | binary()) -> ok | {error, reason()}.
migrate(Conn, Local) -> do(Conn, migrate, local(Local), 0, 0).

%% @doc The same without moving: whether that path works (RFC 9000 8.2). `{weft_path, ...}' tells.
-spec probe(conn(), inet:ip_address() | address() | binary()) -> ok | {error, reason()}.
probe(Conn, Local) -> do(Conn, probe, local(Local), 0, 0).

local(Text) when is_binary(Text) -> Text;
local({Ip, Port}) when is_tuple(Ip) -> weft_open:address(Ip, Port);
local(Ip) -> list_to_binary(inet:ntoa(Ip)).

%% @doc Begins a key update (RFC 9001 6). Errors: `state' while the last one is under way, or before the handshake is
%% confirmed.
-spec update_keys(conn()) -> ok | {error, reason()}.
update_keys(Conn) -> do(Conn, update_keys, <<>>, 0, 0).

%% @doc Sends a PING: keeps the connection open, and measures the round trip.
-spec ping(conn()) -> ok | {error, reason()}.
ping(Conn) -> do(Conn, ping, <<>>, 0, 0).

%% @doc Keying material for a label and a context (RFC 8446 7.5), at most 512 bytes. A server forgets the secret when the
%% handshake is confirmed: it can ask only early, with listen option `accept => handshake', or with `keep_exporter'.
-spec export_key(conn(), binary(), binary() | no_context, 1..512) -> {ok, binary()} | {error, reason()}.
export_key(Conn, Label, no_context, Length) -> do(Conn, export, <<Label/binary, 0>>, Length, 0);
export_key(Conn, Label, Context, Length) -> do(Conn, export, <<Label/binary, 0, Context/binary>>, Length, 1).

do(Conn, What, Bytes, Number, Other) ->
    ?ASK(Ref, weft_nif:conn_do(Conn, What, Bytes, Number, Other, Ref)).

%%% the rest

%% @doc The table of options: `#{Name => {Type, Default, Least, Greatest, Choices, Text}}'; times are nanoseconds.
-spec options() -> #{atom() => tuple()}.
options() -> weft_options:table().

%% @doc Counters of what is alive in this VM. `conns', `streams', `listeners', `waiters', `outgoing', `commands' and
%% `buffers' are 0 when nothing is open and nobody refers to received bytes.
-spec live() -> #{atom() => integer()}.
live() -> weft_nif:stats().

%% @doc The counters of each engine (docs/stats.md).
-spec engine_stats() -> [map()].
engine_stats() ->
    lists:append([
        case ?ASK(Ref, weft_nif:engine_stats(Engine, Ref)) of
            {ok, Stats} -> [Stats];
            {error, _} -> []
        end
     || Engine <- weft_engines:all()
    ]).

%% @doc The version of the core.
-spec version() -> binary().
version() -> weft_nif:version().

%% @doc SHA-256 of the certificate that these options have: what `pins' wants.
-spec fingerprint(options()) -> {ok, binary()} | {error, reason()}.
fingerprint(Options) ->
    case weft_options:parse(listen, Options, server) of
        {ok, Ops, _} ->
            case weft_open:config(server, Ops) of
                {ok, Config} -> weft_nif:config_fingerprint(Config);
                Error -> Error
            end;
        Error ->
            Error
    end.

%% @doc An error in words.
-spec format_error(reason() | {error, reason()}) -> string().
format_error({error, Reason}) -> format_error(Reason);
format_error({closed, #{cause := Cause, layer := Layer, code := Code, reason := Text}}) ->
    lists:flatten(io_lib:format("the connection was closed (~ts, ~ts error 16#~.16b~ts)", [
        Cause, Layer, Code, [[": ", Text] || Text =/= <<>>]
    ]));
format_error(closed) -> "it is closed";
format_error(fin) -> "the peer has ended the stream";
format_error(timeout) -> "the time for it is over";
format_error(busy) -> "too many bytes wait to be sent";
format_error(not_owner) -> "the caller is not the owner";
format_error(einval) -> "not possible in this mode";
format_error(nomem) -> "out of memory";
format_error({reset, Code}) -> lists:flatten(io_lib:format("the peer has reset the stream (16#~.16b)", [Code]));
format_error({stopped, Code}) -> lists:flatten(io_lib:format("the peer wants no more (16#~.16b)", [Code]));
format_error({Name, Text}) when is_atom(Name), is_binary(Text) -> unicode:characters_to_list(Text);
format_error(Name) when is_atom(Name) ->
    case weft_nif:error_text(Name) of
        undefined -> atom_to_list(Name);
        Text -> unicode:characters_to_list(Text)
    end;
format_error(Other) ->
    lists:flatten(io_lib:format("~tp", [Other])).
