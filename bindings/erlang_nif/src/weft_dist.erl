%% @doc Erlang distribution over QUIC: `erl -proto_dist weft -weft_dist_optfile FILE -pa ...'.
%%
%% The file holds one term, `{Common, Server, Client}' or one map for both, of options as {@link weft:listen/2} and
%% {@link weft:connect/3} take them. Both sides present certificates and verify each other's: so `certfile', `keyfile' and
%% `cacertfile' are needed, and the certificate of a node must name its host (or set `server_name_indication').
%%
%% A pair of nodes has one connection with a stream for each channel: one for the handshake and then for ticks, one for
%% signals. So a tick never waits behind a large message. QUIC carries on when an address changes under a connection
%% (NAT): monitors and links do not notice. Nodes are found with epmd, as with TCP.
%%
%% A connection has two processes. The controller takes signals from the VM and sends them, waiting where the stream's
%% watermark makes it wait; the VM then suspends who sends. The input handler does the other way.
-module(weft_dist).

-include_lib("kernel/include/net_address.hrl").
-include_lib("kernel/include/dist_util.hrl").
-include_lib("kernel/include/dist.hrl").

-export([listen/1, listen/2, accept/1, accept_connection/5, setup/5, close/1, select/1, address/0, address/1]).
-export([childspecs/0, is_node_name/1, setopts/2, getopts/2, tick/1, getstat/1]).
-export([do_accept/6, do_setup/6, accept_loop/2, controller/2]).

-define(ALPN, "erlang-dist").
-define(PRIORITY, [link, {priority, max}]).
%% Who makes the handshake has a timer of the kernel's (net_setuptime); this one is only for who waits for nobody.
-define(PATIENCE, 60000).

-record(socket, {controller :: pid(), conn, control, counts, address}).

%%% what net_kernel asks

-spec childspecs() -> {ok, []}.
childspecs() -> {ok, []}.

-spec select(node()) -> boolean().
select(Node) ->
    case split(Node) of
        {node, _, Host} -> inet:getaddr(Host, inet) =/= {error, nxdomain};
        _ -> false
    end.

-spec is_node_name(node()) -> boolean().
is_node_name(Node) -> element(1, split(Node)) =:= node.

split(Node) -> dist_util:split_node(Node).

-spec address() -> #net_address{}.
address() ->
    {ok, Host} = inet:gethostname(),
    address(Host).

-spec address(string()) -> #net_address{}.
address(Host) -> #net_address{host = Host, protocol = weft, family = inet}.

-spec listen(atom()) -> {ok, {term(), #net_address{}, integer()}} | {error, term()}.
listen(Name) ->
    {ok, Host} = inet:gethostname(),
    listen(Name, Host).

%% The listener belongs to a process that lives as long as the node.
-spec listen(atom(), string()) -> {ok, {term(), #net_address{}, integer()}} | {error, term()}.
listen(Name, Host) ->
    ok = weft_engines:ensure_started(),
    case weft:listen(listen_port(), server_options()) of
        {ok, Listener} ->
            {ok, {_, Port}} = weft:sockname(Listener),
            Epmd = net_kernel:epmd_module(),
            case Epmd:register_node(Name, Port, inet) of
                {ok, Creation} ->
                    {ok, {Listener, (address(Host))#net_address{address = {{0, 0, 0, 0}, Port}}, Creation}};
                Error ->
                    Error
            end;
        {error, Reason} ->
            logger:error("distribution cannot listen: ~ts", [weft:format_error(Reason)]),
            {error, Reason}
    end.

listen_port() ->
    case application:get_env(kernel, inet_dist_listen_min) of
        {ok, Port} when is_integer(Port) -> Port;
        _ -> 0
    end.

-spec close(term()) -> ok.
close(Listener) ->
    _ = weft:stop(Listener, #{mode => detach}),
    ok.

-spec accept(term()) -> pid().
accept(Listener) -> spawn_opt(?MODULE, accept_loop, [self(), Listener], ?PRIORITY).

%% @private
-spec accept_loop(pid(), term()) -> no_return().
accept_loop(Kernel, Listener) ->
    case weft:accept(Listener) of
        {ok, Conn} ->
            accepted(Kernel, Conn),
            accept_loop(Kernel, Listener);
        {error, Reason} ->
            exit({listener, Reason})
    end.

accepted(Kernel, Conn) ->
    Controller = spawn(?MODULE, controller, [accept, self()]),
    case weft:controlling_process(Conn, Controller) of
        ok ->
            Controller ! {self(), conn, Conn},
            Kernel ! {accept, self(), Controller, inet, weft},
            receive
                {Kernel, controller, Pid} ->
                    Pid ! {self(), controller},
                    ok;
                {Kernel, unsupported_protocol} ->
                    exit(unsupported_protocol)
            end;
        {error, _} ->
            exit(Controller, kill),
            ok
    end.

-spec accept_connection(pid(), pid(), node(), term(), term()) -> pid().
accept_connection(AcceptPid, Controller, MyNode, Allowed, SetupTime) ->
    spawn_opt(?MODULE, do_accept, [self(), AcceptPid, Controller, MyNode, Allowed, SetupTime], options()).

options() -> [link, {priority, max}] ++ dist_util:net_ticker_spawn_options().

%% @private
-spec do_accept(pid(), pid(), pid(), node(), term(), term()) -> no_return().
do_accept(Kernel, AcceptPid, Controller, MyNode, Allowed, SetupTime) ->
    receive
        {AcceptPid, controller} ->
            Timer = dist_util:start_timer(SetupTime),
            case ask(Controller, socket) of
                {ok, Socket} ->
                    dist_util:handshake_other_started((hs_data(Kernel, MyNode, Socket, Timer))#hs_data{
                        other_started = true, allowed = Allowed
                    });
                {error, Reason} ->
                    ?shutdown2(no_node, {weft, Reason})
            end
    end.

-spec setup(node(), term(), node(), longnames | shortnames, term()) -> pid().
setup(Node, Type, MyNode, LongOrShort, SetupTime) ->
    spawn_opt(?MODULE, do_setup, [self(), Node, Type, MyNode, LongOrShort, SetupTime], options()).

%% @private
-spec do_setup(pid(), node(), term(), node(), longnames | shortnames, term()) -> no_return().
do_setup(Kernel, Node, Type, MyNode, _LongOrShort, SetupTime) ->
    Timer = dist_util:start_timer(SetupTime),
    {node, Name, Host} = split(Node),
    Epmd = net_kernel:epmd_module(),
    case where(Epmd, Name, Host) of
        {ok, Ip, Port, Version} ->
            dist_util:reset_timer(Timer),
            %% With this process, which the kernel ends when its time is over, the other one ends.
            Controller = spawn_link(?MODULE, controller, [{connect, Host, Ip, Port}, self()]),
            case ask(Controller, socket) of
                {ok, Socket} ->
                    dist_util:handshake_we_started((hs_data(Kernel, MyNode, Socket, Timer))#hs_data{
                        other_node = Node, other_version = Version, other_started = false, request_type = Type
                    });
                {error, Reason} ->
                    ?shutdown2(Node, {weft, Reason})
            end;
        Error ->
            ?shutdown2(Node, {epmd, Error})
    end.

where(Epmd, Name, Host) ->
    case inet:getaddr(Host, inet) of
        {ok, Ip} ->
            case Epmd:port_please(Name, Ip, 7000) of
                {port, Port, Version} -> {ok, Ip, Port, Version};
                Error -> Error
            end;
        Error ->
            Error
    end.

%%% the handshake: dist_util's, over the control stream, in packets with a length of two bytes

hs_data(Kernel, MyNode, Socket, Timer) ->
    #hs_data{
        kernel_pid = Kernel,
        this_node = MyNode,
        socket = Socket,
        timer = Timer,
        this_flags = 0,
        f_send = fun(#socket{control = S}, Data) -> weft:send(S, [<<(iolist_size(Data)):16>>, Data]) end,
        f_recv = fun(#socket{control = S}, _, Timeout) -> recv_packet(S, Timeout) end,
        f_setopts_pre_nodeup = fun(_) -> ok end,
        f_setopts_post_nodeup = fun(_) -> ok end,
        f_getll = fun(#socket{controller = Pid}) -> {ok, Pid} end,
        f_address = fun(#socket{address = Address}, Node) ->
            case split(Node) of
                {node, _, Host} -> (address(Host))#net_address{address = Address};
                _ -> {error, no_node}
            end
        end,
        f_handshake_complete = fun(#socket{controller = Pid}, Node, Handle) -> ask(Pid, {complete, Node, Handle}) end,
        mf_tick = fun ?MODULE:tick/1,
        mf_getstat = fun ?MODULE:getstat/1,
        mf_setopts = fun ?MODULE:setopts/2,
        mf_getopts = fun ?MODULE:getopts/2
    }.

recv_packet(S, Timeout) ->
    case weft:recv(S, 2, Timeout) of
        {ok, <<0:16>>} -> {ok, []};
        {ok, <<Len:16>>} ->
            case weft:recv(S, Len, Timeout) of
                {ok, Data} -> {ok, binary_to_list(Data)};
                Error -> Error
            end;
        Error -> Error
    end.

%% @private
-spec tick(#socket{}) -> ok.
tick(#socket{control = S, counts = Counts}) ->
    counters:add(Counts, 2, 1),
    _ = weft:send(S, <<0:32>>, nowait),
    ok.

%% @private Packets in, packets out, and what waits.
-spec getstat(#socket{}) -> {ok, non_neg_integer(), non_neg_integer(), non_neg_integer()}.
getstat(#socket{counts = Counts}) ->
    {ok, counters:get(Counts, 1), counters:get(Counts, 2), 0}.

%% @private
-spec setopts(#socket{}, term()) -> ok | {error, term()}.
setopts(_, _) -> ok.

%% @private
-spec getopts(#socket{}, [atom()]) -> {ok, list()} | {error, term()}.
getopts(#socket{conn = Conn}, Names) -> weft:getopts(Conn, Names).

%%% the controller

ask(Pid, Question) ->
    Monitor = monitor(process, Pid),
    Pid ! {ask, self(), Monitor, Question},
    receive
        {Monitor, Answer} ->
            demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, _, _, Reason} ->
            {error, Reason}
    end.

%% @private
-spec controller(accept | {connect, string(), inet:ip_address(), inet:port_number()}, pid()) -> ok.
controller(accept, Acceptor) ->
    receive
        {Acceptor, conn, Conn} -> begin_with(Conn, weft:accept_stream(Conn, ?PATIENCE), accept)
    after ?PATIENCE -> exit(no_connection)
    end;
controller({connect, Host, Ip, Port}, _) ->
    case weft:connect(Ip, Port, client_options(Host), ?PATIENCE) of
        {ok, Conn} -> begin_with(Conn, weft:open_stream(Conn, #{}, ?PATIENCE), connect);
        {error, Reason} -> exit(Reason)
    end.

begin_with(Conn, {ok, Control}, Side) ->
    _ = weft:setopts(Control, #{urgency => 0}),
    {ok, Address} = weft:peername(Conn),
    Socket = #socket{
        controller = self(), conn = Conn, control = Control, counts = counters:new(2, [write_concurrency]), address = Address
    },
    wait_complete(Socket, Side);
begin_with(_, {error, Reason}, _) ->
    exit(Reason).

wait_complete(Socket, Side) ->
    receive
        {ask, From, Ref, socket} ->
            From ! {Ref, {ok, Socket}},
            %% Who makes the handshake is who net_kernel watches: with it this goes.
            link(From),
            wait_complete(Socket, Side);
        {ask, From, Ref, {complete, _Node, Handle}} ->
            run(Socket, Side, Handle, fun() -> From ! {Ref, ok} end)
    after ?PATIENCE -> exit(no_handshake)
    end.

run(#socket{conn = Conn} = Socket, Side, Handle, Ready) ->
    {ok, Signals} = signals_stream(Side, Conn),
    Self = self(),
    Input = spawn_opt(fun() -> input_start(Socket, Signals, Handle, Self) end, [link, {priority, max}]),
    ok = erlang:dist_ctrl_input_handler(Handle, Input),
    ok = weft:controlling_process(Signals, Input),
    ok = weft:controlling_process(Socket#socket.control, Input),
    Input ! {self(), go},
    process_flag(priority, high),
    _ = Ready(),
    false = erlang:dist_ctrl_set_opt(Handle, get_size, true),
    ok = weft:setopts(Conn, #{active => true}),
    erlang:dist_ctrl_get_data_notification(Handle),
    output(Socket, Signals, Handle).

%% The side that connected opens it; the first bytes tell the other.
signals_stream(connect, Conn) ->
    {ok, S} = weft:open_stream(Conn),
    ok = weft:send(S, <<0:32>>),
    {ok, S};
signals_stream(accept, Conn) ->
    weft:accept_stream(Conn, ?PATIENCE).

output(#socket{conn = Conn} = Socket, Signals, Handle) ->
    receive
        dist_data ->
            send_all(Socket, Signals, Handle),
            erlang:dist_ctrl_get_data_notification(Handle),
            output(Socket, Signals, Handle);
        {weft_closed, Conn, Info} ->
            exit({closed, Info});
        _ ->
            output(Socket, Signals, Handle)
    end.

-define(BATCH, 65536).

send_all(Socket, Signals, Handle) ->
    case gather(Socket, Handle, [], 0) of
        {[], 0} ->
            ok;
        {Data, Size} ->
            case weft:send(Signals, lists:reverse(Data)) of
                ok when Size >= ?BATCH -> send_all(Socket, Signals, Handle);
                ok -> ok;
                {error, Reason} -> exit(Reason)
            end
    end.

%% Several signals in one write.
gather(_, _, Acc, Size) when Size >= ?BATCH ->
    {Acc, Size};
gather(#socket{counts = Counts} = Socket, Handle, Acc, Size) ->
    case erlang:dist_ctrl_get_data(Handle) of
        none ->
            {Acc, Size};
        {Len, Data} ->
            counters:add(Counts, 2, 1),
            gather(Socket, Handle, [[<<Len:32>> | Data] | Acc], Size + Len + 4)
    end.

%%% the input handler

input_start(Socket, Signals, Handle, Controller) ->
    receive
        {Controller, go} ->
            ok = weft:setopts(Signals, #{active => 64}),
            ok = weft:setopts(Socket#socket.control, #{active => true}),
            input(Socket, Signals, Handle, <<>>)
    end.

input(#socket{control = Control, counts = Counts} = Socket, Signals, Handle, Rest) ->
    receive
        {weft, Signals, Data} when Rest =:= <<>> ->
            input(Socket, Signals, Handle, packets(Data, Counts, Handle));
        {weft, Signals, Data} ->
            input(Socket, Signals, Handle, continue(Rest, Data, Counts, Handle));
        {weft_passive, Signals} ->
            ok = weft:setopts(Signals, #{active => 64}),
            input(Socket, Signals, Handle, Rest);
        {weft, Control, _Tick} ->
            counters:add(Counts, 1, 1),
            input(Socket, Signals, Handle, Rest);
        {Tag, S} when Tag =:= weft_fin, S =:= Signals orelse S =:= Control ->
            exit(closed);
        {Tag, S, Reason} when Tag =:= weft_closed orelse Tag =:= weft_reset, S =:= Signals orelse S =:= Control ->
            exit({closed, Reason});
        _ ->
            input(Socket, Signals, Handle, Rest)
    end.

packets(<<0:32, Rest/binary>>, Counts, Handle) ->
    packets(Rest, Counts, Handle);
packets(<<Len:32, Packet:Len/binary, Rest/binary>>, Counts, Handle) ->
    counters:add(Counts, 1, 1),
    ok = erlang:dist_ctrl_put_data(Handle, Packet),
    packets(Rest, Counts, Handle);
packets(<<Len:32, Part/binary>>, _, _) ->
    {Len - byte_size(Part), Len, [Part]};
packets(Rest, _, _) ->
    Rest.

%% A packet that comes in many messages is joined once, when it is whole.
continue({Missing, Len, Parts}, Data, _, _) when byte_size(Data) < Missing ->
    {Missing - byte_size(Data), Len, [Data | Parts]};
continue({Missing, _, Parts}, Data, Counts, Handle) ->
    <<Last:Missing/binary, Rest/binary>> = Data,
    counters:add(Counts, 1, 1),
    ok = erlang:dist_ctrl_put_data(Handle, iolist_to_binary(lists:reverse([Last | Parts]))),
    packets(Rest, Counts, Handle);
continue(Rest, Data, Counts, Handle) ->
    packets(<<Rest/binary, Data/binary>>, Counts, Handle).

%%% options

server_options() ->
    {Common, Server, _} = options_file(),
    maps:merge(
        #{alpn => [?ALPN], verify => verify_peer, ip => {0, 0, 0, 0}, max_idle_timeout => 120000, keep_alive => 15000},
        maps:merge(Common, Server)
    ).

client_options(Host) ->
    {Common, _, Client} = options_file(),
    maps:merge(
        #{
            alpn => [?ALPN], verify => verify_peer, server_name_indication => Host, max_idle_timeout => 120000,
            keep_alive => 15000
        },
        maps:merge(Common, Client)
    ).

%% Read with the loader: the file server may not run yet.
options_file() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined ->
            Options = read_options(init:get_argument(weft_dist_optfile)),
            persistent_term:put(?MODULE, Options),
            Options;
        Options ->
            Options
    end.

read_options({ok, [[File] | _]}) ->
    %% The loader looks for relative names elsewhere.
    {ok, Dir} = erl_prim_loader:get_cwd(),
    case erl_prim_loader:get_file(filename:join(Dir, File)) of
        {ok, Text, _} -> parse_options(File, Text);
        error -> wrong(File, "cannot be read")
    end;
read_options(_) ->
    wrong("-weft_dist_optfile FILE", "needed, with certfile, keyfile and cacertfile").

parse_options(File, Text) ->
    Parsed =
        case erl_scan:string(unicode:characters_to_list(Text)) of
            {ok, Tokens, _} -> erl_parse:parse_term(Tokens);
            {error, Error, _} -> {error, Error}
        end,
    case Parsed of
        {ok, {Common, Server, Client}} when is_map(Common), is_map(Server), is_map(Client) -> {Common, Server, Client};
        {ok, Common} when is_map(Common) -> {Common, #{}, #{}};
        {ok, _} -> wrong(File, "is neither a map nor {Common, Server, Client}");
        {error, {Line, Module, What}} -> wrong(File, io_lib:format("line ~p: ~ts", [Line, Module:format_error(What)]))
    end.

-spec wrong(string(), iodata()) -> no_return().
wrong(What, Text) -> exit({weft_dist, lists:flatten([What, ": ", Text])}).
