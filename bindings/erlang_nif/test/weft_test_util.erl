%% What the suites share: options of servers and clients, pairs of connected ends, and the gate against leaks.
-module(weft_test_util).

-export([server/0, server/1, client/0, client/1, listen/1, pair/0, pair/2, streams/1, close/1, assert_nothing_lives/0]).
-export([wait/1, port/1, pem_dir/1]).

server() -> server(#{}).
server(More) -> maps:merge(#{alpn => ["echo"], self_signed => "localhost", ip => loopback}, More).

client() -> client(#{}).
client(More) -> maps:merge(#{alpn => ["echo"], verify => verify_none, family => inet}, More).

listen(More) ->
    {ok, L} = weft:listen(0, server(More)),
    L.

port(L) ->
    {ok, {_, Port}} = weft:sockname(L),
    Port.

pair() -> pair(#{}, #{}).

%% A listener and both ends of a connection, all owned by the caller.
pair(Server, Client) ->
    L = listen(Server),
    {ok, C} = weft:connect("127.0.0.1", port(L), client(Client), 10000),
    {ok, A} = weft:accept(L, 10000),
    #{listener => L, client => C, server => A}.

%% Both ends of a stream that the client opens.
streams(#{client := C, server := A}) ->
    {ok, S} = weft:open_stream(C),
    ok = weft:send(S, <<"!">>),
    {ok, T} = weft:accept_stream(A, 10000),
    {ok, <<"!">>} = weft:recv(T, 1, 10000),
    {S, T}.

close(#{listener := L, client := C}) ->
    ok = weft:close(C),
    ok = weft:stop(L).

%% Until Fun gives true: what another thread does takes its time, but not for ever.
wait(Fun) -> wait(Fun, 2000).

wait(Fun, 0) -> error({still_not, Fun()});
wait(Fun, N) ->
    case Fun() of
        true ->
            ok;
        _ ->
            timer:sleep(5),
            wait(Fun, N - 1)
    end.

-define(GATE, [conns, streams, listeners, waiters, outgoing, commands, buffers, buffer_bytes]).

%% No object, no waiter, no byte is left, once what refers to received bytes was collected.
assert_nothing_lives() ->
    wait(fun() ->
        [erlang:garbage_collect(P) || P <- processes()],
        case [{K, V} || {K, V} <- maps:to_list(maps:with(?GATE, weft:live())), V =/= 0] of
            [] -> true;
            Left -> Left
        end
    end).

%% A certificate authority, a server's and a client's certificate, as files.
pem_dir(Dir) ->
    #{server_config := Server, client_config := Client} =
        public_key:pkix_test_data(#{
            server_chain => #{
                root => [{key, {namedCurve, secp256r1}}],
                intermediates => [],
                peer => [
                    {key, {namedCurve, secp256r1}},
                    {extensions, [{'Extension', {2, 5, 29, 17}, false, [{dNSName, "localhost"}]}]}
                ]
            },
            client_chain => #{
                root => [{key, {namedCurve, secp256r1}}],
                intermediates => [],
                peer => [{key, {namedCurve, secp256r1}}]
            }
        }),
    {Dir, Server, Client}.
