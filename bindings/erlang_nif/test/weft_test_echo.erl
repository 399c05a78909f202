%% A connection that sends back what it is sent; the example of weft_connection's documentation, and some more of it.
-module(weft_test_echo).
-behaviour(weft_connection).

-export([init/2, handle_stream/2, handle_data/3, handle_fin/2, handle_datagram/2, handle_closed/2, handle_call/3, handle_info/2]).

init(Conn, Args) -> {ok, #{conn => Conn, args => Args, streams => 0}}.

handle_stream(_Stream, #{streams := N} = S) -> {ok, S#{streams := N + 1}}.

handle_data(_Stream, <<"crash">>, _) -> error(as_asked);
handle_data(_Stream, <<"stop">>, S) -> {stop, normal, S};
handle_data(Stream, Data, S) ->
    _ = weft:send(Stream, Data),
    {ok, S}.

handle_fin(Stream, S) ->
    _ = weft:send_fin(Stream),
    {ok, S}.

handle_datagram(Data, #{conn := Conn} = S) ->
    _ = weft:send_datagram(Conn, Data, nowait),
    {ok, S}.

handle_closed(Info, #{args := Pid}) when is_pid(Pid) -> Pid ! {closed, Info};
handle_closed(_, _) -> ok.

handle_call(streams, _From, #{streams := N} = S) -> {reply, N, S}.

handle_info({tell, Pid}, S) ->
    Pid ! told,
    {ok, S}.
