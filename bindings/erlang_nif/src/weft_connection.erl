%% @doc A connection as a process with callbacks, for those who do not want to write the receive loop: it owns the
%% connection and the peer's streams, keeps their modes armed, and calls a module.
%%
%% A module needs only `init/2'; a callback that is not there ignores what it would be told. Each gives `{ok, State}', or
%% `{stop, Reason, State}', which closes the connection. What is sent, opened and closed is done with the module `weft'.
%%
%% ```
%% -module(echo).
%% -behaviour(weft_connection).
%% -export([init/2, handle_data/3, handle_fin/2]).
%%
%% init(_Conn, Args) -> {ok, Args}.
%% handle_data(Stream, Data, State) -> ok = weft:send(Stream, Data), {ok, State}.
%% handle_fin(Stream, State) -> ok = weft:send_fin(Stream), {ok, State}.
%% '''
%%
%% Messages are taken in portions (`{active, N}', option `active', 32): while a callback works no more than that waits
%% in the mailbox for each stream, and the peer is slowed.
-module(weft_connection).
-behaviour(gen_server).

-export([start_link/3, start_link/4, connect/5, hand_over/3, conn/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, handle_continue/2, terminate/2]).

-type state() :: term().
-type result() :: {ok, state()} | {stop, term(), state()}.
-export_type([result/0]).

-callback init(weft:conn(), Args :: term()) -> {ok, state()} | {stop, term()}.
%% The peer has opened a stream; this process owns it. `{active, Mode}' in place of the usual portion: `false', to give it
%% away with weft:controlling_process/2.
-callback handle_stream(weft:stream(), state()) -> result() | {ok, weft:active(), state()}.
-callback handle_data(weft:stream(), binary(), state()) -> result().
-callback handle_fin(weft:stream(), state()) -> result().
-callback handle_reset(weft:stream(), non_neg_integer(), state()) -> result().
-callback handle_stopped(weft:stream(), non_neg_integer(), state()) -> result().
-callback handle_writable(weft:stream(), state()) -> result().
-callback handle_stream_closed(weft:stream(), normal | weft:close_info(), state()) -> result().
-callback handle_datagram(binary(), state()) -> result().
%% confirmed, streams, datagram_room, {session, Binary}, {token, Binary}, {path, What, {Local, Remote}},
%% {datagram_outcome, Number, Outcome}
-callback handle_event(term(), state()) -> result().
%% The last one. The process ends after it.
-callback handle_closed(weft:close_info(), state()) -> term().
-callback handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()} | {noreply, state()}.
-callback handle_info(term(), state()) -> result().
-optional_callbacks([
    handle_stream/2, handle_data/3, handle_fin/2, handle_reset/3, handle_stopped/3, handle_writable/2,
    handle_stream_closed/3, handle_datagram/2, handle_event/2, handle_closed/2, handle_call/3, handle_info/2
]).

-record(state, {conn, module, user, portion = 32, args, waiting}).

%% @equiv start_link(Module, Args, Conn, #{})
-spec start_link(module(), term(), weft:conn() | wait) -> {ok, pid()} | ignore | {error, term()}.
start_link(Module, Args, Conn) -> start_link(Module, Args, Conn, #{}).

%% @doc For a connection the caller owns: it is handed over. `wait': for one that comes by {@link hand_over/3}.
-spec start_link(module(), term(), weft:conn() | wait, #{active => pos_integer()}) ->
    {ok, pid()} | ignore | {error, term()}.
start_link(Module, Args, wait, Options) ->
    gen_server:start_link(?MODULE, {Module, Args, Options}, []);
start_link(Module, Args, Conn, Options) ->
    case gen_server:start_link(?MODULE, {Module, Args, Options}, []) of
        {ok, Pid} ->
            case hand_over(Pid, Conn, infinity) of
                ok -> {ok, Pid};
                Error -> Error
            end;
        Other ->
            Other
    end.

%% @doc Connects, and runs Module on that.
-spec connect(module(), term(), inet:hostname() | inet:ip_address(), inet:port_number(), map()) ->
    {ok, pid()} | ignore | {error, term()}.
connect(Module, Args, Host, Port, Options) ->
    case weft:connect(Host, Port, Options) of
        {ok, Conn} -> start_link(Module, Args, Conn);
        Error -> Error
    end.

%% @doc Gives a connection to a process that waits for one.
-spec hand_over(pid(), weft:conn(), timeout()) -> ok | {error, term()}.
hand_over(Pid, Conn, Timeout) ->
    case weft:controlling_process(Conn, Pid) of
        ok -> gen_server:call(Pid, {?MODULE, conn, Conn}, Timeout);
        Error -> Error
    end.

%% @doc The connection of such a process.
-spec conn(pid()) -> weft:conn().
conn(Pid) -> gen_server:call(Pid, {?MODULE, which}).

%%% gen_server

-spec init({module(), term(), map()}) -> {ok, #state{}}.
init({Module, Args, Options}) ->
    {module, Module} = code:ensure_loaded(Module),
    {ok, #state{module = Module, args = Args, portion = maps:get(active, Options, 32)}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}}
    | {noreply, #state{}}
    | {noreply, #state{}, {continue, arm}}
    | {stop, normal, {error, term()}, #state{}}.
handle_call({?MODULE, conn, Conn}, From, #state{module = Module, args = Args} = S) ->
    case Module:init(Conn, Args) of
        {ok, User} ->
            {noreply, S#state{conn = Conn, user = User, args = undefined, waiting = From}, {continue, arm}};
        {stop, Reason} ->
            {stop, normal, {error, Reason}, S#state{conn = Conn}}
    end;
handle_call({?MODULE, which}, _From, #state{conn = Conn} = S) ->
    {reply, Conn, S};
handle_call(Request, From, #state{module = Module, user = User} = S) ->
    case erlang:function_exported(Module, handle_call, 3) of
        true ->
            case Module:handle_call(Request, From, User) of
                {reply, Reply, New} -> {reply, Reply, S#state{user = New}};
                {noreply, New} -> {noreply, S#state{user = New}}
            end;
        false ->
            {reply, {error, unknown}, S}
    end.

-spec handle_continue(arm, #state{}) -> {noreply, #state{}}.
handle_continue(arm, #state{conn = Conn, portion = Portion, waiting = From} = S) ->
    gen_server:reply(From, ok),
    _ = weft:setopts(Conn, #{active => Portion}),
    {noreply, S#state{waiting = undefined}}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, S) ->
    {noreply, S}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({weft, Stream, Data}, S) ->
    call(handle_data, [Stream, Data], S);
handle_info({weft_fin, Stream}, S) ->
    call(handle_fin, [Stream], S);
handle_info({weft_reset, Stream, Code}, S) ->
    call(handle_reset, [Stream, Code], S);
handle_info({weft_stopped, Stream, Code}, S) ->
    call(handle_stopped, [Stream, Code], S);
handle_info({weft_writable, Stream}, S) ->
    call(handle_writable, [Stream], S);
handle_info({weft_passive, Handle}, #state{portion = Portion} = S) ->
    _ = weft:setopts(Handle, #{active => Portion}),
    {noreply, S};
handle_info({weft_stream, Conn, Stream}, #state{conn = Conn} = S) ->
    opened(Stream, S);
handle_info({weft_datagram, Conn, Data}, #state{conn = Conn} = S) ->
    call(handle_datagram, [Data], S);
handle_info({weft_closed, Conn, Info}, #state{conn = Conn, module = Module, user = User} = S) ->
    _ = erlang:function_exported(Module, handle_closed, 2) andalso Module:handle_closed(Info, User),
    {stop, normal, S};
handle_info({weft_closed, Stream, Reason}, S) ->
    call(handle_stream_closed, [Stream, Reason], S);
handle_info(Message, #state{conn = Conn} = S) when element(2, Message) =:= Conn ->
    event(Message, S);
handle_info(Message, S) ->
    call(handle_info, [Message], S).

event({weft_confirmed, _}, S) -> call(handle_event, [confirmed], S);
event({weft_connected, _}, S) -> call(handle_event, [connected], S);
event({weft_streams, _}, S) -> call(handle_event, [streams], S);
event({weft_datagram_room, _}, S) -> call(handle_event, [datagram_room], S);
event({weft_session, _, Session}, S) -> call(handle_event, [{session, Session}], S);
event({weft_token, _, Token}, S) -> call(handle_event, [{token, Token}], S);
event({weft_path, _, What, Addresses}, S) -> call(handle_event, [{path, What, Addresses}], S);
event({weft_datagram_outcome, _, N, Outcome}, S) -> call(handle_event, [{datagram_outcome, N, Outcome}], S);
event(_, S) -> {noreply, S}.

opened(Stream, #state{module = Module, user = User, portion = Portion} = S) ->
    Exported = erlang:function_exported(Module, handle_stream, 2),
    case Exported andalso Module:handle_stream(Stream, User) of
        false ->
            arm(Stream, Portion, S);
        {ok, New} ->
            arm(Stream, Portion, S#state{user = New});
        {ok, Active, New} ->
            arm(Stream, Active, S#state{user = New});
        {stop, Reason, New} ->
            {stop, Reason, S#state{user = New}}
    end.

arm(_, false, S) ->
    {noreply, S};
arm(Stream, Active, S) ->
    _ = weft:setopts(Stream, #{active => Active}),
    {noreply, S}.

call(Name, Args, #state{module = Module, user = User} = S) ->
    case erlang:function_exported(Module, Name, length(Args) + 1) of
        true ->
            case apply(Module, Name, Args ++ [User]) of
                {ok, New} -> {noreply, S#state{user = New}};
                {stop, Reason, New} -> {stop, Reason, S#state{user = New}}
            end;
        false ->
            {noreply, S}
    end.

-spec terminate(term(), #state{}) -> ok.
terminate(_, #state{conn = undefined}) ->
    ok;
terminate(Reason, #state{conn = Conn}) ->
    Text =
        case Reason of
            normal -> <<>>;
            shutdown -> <<"shutdown">>;
            {shutdown, _} -> <<"shutdown">>;
            _ -> <<"error">>
        end,
    _ = weft:close(Conn, 0, Text),
    ok.
