%% @private How connections and listeners begin: parsed options become what the NIF takes, for an engine that is chosen. Of the
%% API (the module weft), which has the documentation, this knows nothing but how to undo half of a listen_all.
-module(weft_open).

-export([connect/4, listen/2, listen_all/2, config/2, address/2]).

-include("weft_ask.hrl").

%%% connections

%% Without a time-out it is the option's.
-spec connect(inet:hostname() | inet:ip_address() | binary(), inet:port_number(), map() | list(), timeout() | undefined) ->
    {ok, weft:conn()} | {error, weft:reason()}.
connect(Host, Port, Options, Timeout) ->
    case weft_options:parse(connect, Options, client) of
        {ok, Ops, Api} when Timeout =:= undefined -> connect(Host, Port, Ops, Api, maps:get(timeout, Api));
        {ok, Ops, Api} -> connect(Host, Port, Ops, Api, Timeout);
        Error -> Error
    end.

connect(Host, Port, Ops, Api, Timeout) ->
    case {config(client, Ops), engine(Api)} of
        {{ok, Config}, {ok, Engine}} ->
            #{session := Session, token := Token, wait := Wait} = Api,
            Texts = {host(Host), maps:get(server_name, Api, <<>>), Session, Token},
            Params = {
                Wait, family(Api), maps:get(active, Api), maps:get(stream_active, Api), maps:get(high_watermark, Api),
                maps:get(low_watermark, Api), datagram_bytes(Api), datagram_count(Api)
            },
            Ref = make_ref(),
            case weft_nif:connect(Engine, Config, Texts, Port, Params, Ref) of
                {ok, Conn} -> connect_wait(Conn, Ref, Timeout);
                closed -> {error, closed};
                error -> {error, nomem}
            end;
        {{ok, _}, Error} ->
            Error;
        {Error, _} ->
            Error
    end.

connect_wait(Conn, Ref, Timeout) ->
    receive
        {Ref, ok} -> {ok, Conn};
        {Ref, Error} -> Error
    after Timeout ->
        _ = weft_nif:conn_close(Conn, 0, <<>>, 0, undefined),
        receive
            {Ref, ok} -> {error, timeout};
            {Ref, {error, {closed, #{cause := local}}}} -> {error, timeout};
            {Ref, Error} -> Error
        end
    end.

%%% listeners

-spec listen(inet:port_number() | weft:address(), map() | list()) -> {ok, weft:listener()} | {error, weft:reason()}.
listen(Where, Options) ->
    case weft_options:parse(listen, Options, server) of
        {ok, Ops, Api} -> listen(Where, Ops, Api);
        Error -> Error
    end.

listen({Ip, Port}, Ops, Api) ->
    listen(Port, Ops, Api#{ip => Ip});
listen(Port, Ops, Api) ->
    case {config(server, Ops), engine(Api)} of
        {{ok, Config}, {ok, Engine}} -> listen_at(Engine, Config, Port, listen_flags(Api), Api, undefined);
        {{ok, _}, Error} -> Error;
        {Error, _} -> Error
    end.

listen_at(Engine, Config, Port, Flags, Api, First) ->
    Params = {
        maps:get(backlog, Api), maps:get(accept, Api) =:= handshake, maps:get(active, Api),
        maps:get(accept_active, Api), maps:get(stream_active, Api), maps:get(high_watermark, Api),
        maps:get(low_watermark, Api), datagram_bytes(Api), datagram_count(Api), First
    },
    Address = address(maps:get(ip, Api), Port),
    case ?ASK(Ref, weft_nif:listen(Engine, Config, Address, Flags, Params, Ref)) of
        {ok, {Listener, _}} -> {ok, Listener};
        Error -> Error
    end.

listen_flags(Api) -> bit(1, reuse_port, Api) bor bit(2, ipv6_only, Api).

-spec listen_all(inet:port_number() | weft:address(), map() | list()) -> {ok, [weft:listener(), ...]} | {error, weft:reason()}.
listen_all(Where, Options) ->
    case weft_options:parse(listen, Options, server) of
        {ok, Ops, Api} -> listen_all(Where, Ops, Api);
        Error -> Error
    end.

listen_all(_, _, #{engine := N}) when is_integer(N) ->
    {error, {options, <<"engine: listen_all uses all of them">>}};
listen_all({Ip, Port}, Ops, Api) ->
    listen_all(Port, Ops, Api#{ip => Ip});
listen_all(Port, Ops, Api) ->
    case {config(server, Ops), weft_engines:all()} of
        {{ok, _}, []} -> {error, closed};
        {{ok, Config}, Engines} -> listen_each(Engines, Config, Port, listen_flags(Api) bor 5, Api, []);
        {Error, _} -> Error
    end.

%% In the order of the engines' numbers: that is how the system finds an engine's socket.
listen_each([], _, _, _, _, Listeners) ->
    {ok, lists:reverse(Listeners)};
listen_each([Engine | Engines], Config, Port, Flags, Api, Listeners) ->
    First = if Listeners =:= [] -> undefined; true -> lists:last(Listeners) end,
    case listen_at(Engine, Config, Port, Flags, Api, First) of
        {ok, Listener} ->
            {ok, {_, Bound}} = weft:sockname(Listener),
            listen_each(Engines, Config, Bound, Flags, Api, [Listener | Listeners]);
        Error ->
            _ = weft:stop(Listeners),
            Error
    end.

bit(Bit, Name, Api) ->
    case maps:get(Name, Api) of
        true -> Bit;
        false -> 0
    end.

-spec address(any | loopback | inet:ip_address() | unicode:chardata(), inet:port_number()) -> binary().
address(any, Port) -> iolist_to_binary(io_lib:format("[::]:~b", [Port]));
address(loopback, Port) -> iolist_to_binary(io_lib:format("127.0.0.1:~b", [Port]));
address(Ip, Port) when tuple_size(Ip) =:= 4 -> iolist_to_binary(io_lib:format("~s:~b", [inet:ntoa(Ip), Port]));
address(Ip, Port) when tuple_size(Ip) =:= 8 -> iolist_to_binary(io_lib:format("[~s]:~b", [inet:ntoa(Ip), Port]));
address(Text, Port) ->
    Bin = unicode:characters_to_binary(Text),
    case binary:match(Bin, <<":">>) of
        nomatch -> iolist_to_binary(io_lib:format("~ts:~b", [Bin, Port]));
        _ -> iolist_to_binary(io_lib:format("[~ts]:~b", [Bin, Port]))
    end.

%%% both

%% A configuration with these options, made or found; errors name the option.
-spec config(client | server, list()) -> {ok, term()} | {error, weft:reason()}.
config(Role, Ops) ->
    case weft_engines:config(Role, Ops) of
        {ok, Config} -> {ok, Config};
        {error, {Name, Op, Text}} -> {error, {options, <<(op_name(Op))/binary, ": ", Text/binary, (named(Name))/binary>>}};
        Error -> Error
    end.

op_name(Op) when element(1, Op) =:= set -> element(2, Op);
op_name(Op) -> atom_to_binary(element(1, Op)).

named(Name) -> <<" (", (atom_to_binary(Name))/binary, ")">>.

engine(#{engine := next}) -> weft_engines:pick();
engine(#{engine := N}) ->
    case weft_engines:all() of
        [] -> {error, closed};
        All -> {ok, lists:nth(1 + N rem length(All), All)}
    end.

host(Ip) when is_tuple(Ip) -> list_to_binary(inet:ntoa(Ip));
host(Name) when is_atom(Name) -> atom_to_binary(Name);
host(Name) -> unicode:characters_to_binary(Name).

family(#{family := inet}) -> 4;
family(#{family := inet6}) -> 6;
family(_) -> 0.

datagram_bytes(Api) -> maps:get(datagram_receive_queue, Api, element(2, maps:get(datagram_receive_queue, weft_options:table()))).
datagram_count(Api) -> maps:get(datagram_queue_count, Api, element(2, maps:get(datagram_queue_count, weft_options:table()))).
