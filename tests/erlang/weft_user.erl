%% A program of somebody else's: serves itself an echo.
-module(weft_user).
-export([main/0]).

main() ->
    {ok, _} = application:ensure_all_started(weft_nif),
    {ok, L} = weft:listen(0, #{alpn => ["echo"], self_signed => "localhost", ip => loopback}),
    {ok, {_, Port}} = weft:sockname(L),
    {ok, C} = weft:connect("127.0.0.1", Port, #{alpn => ["echo"], verify => verify_none}, 10000),
    {ok, A} = weft:accept(L, 10000),
    {ok, S} = weft:open_stream(C),
    ok = weft:send_fin(S, <<"hello over QUIC">>),
    {ok, T} = weft:accept_stream(A, 10000),
    {ok, Text} = weft:recv(T, 15, 10000),
    ok = weft:send_fin(T, Text),
    {ok, Text} = weft:recv(S, 15, 10000),
    io:format("~ts~n", [Text]),
    ok = application:stop(weft_nif),
    halt(0).
