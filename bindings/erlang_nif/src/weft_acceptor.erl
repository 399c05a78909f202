%% @private One of the processes that accept for a {@link weft_listener}.
-module(weft_acceptor).

-export([start_link/2, init/2]).

%% The N-th of them: they go round the listeners.
-spec start_link(pid(), pos_integer()) -> {ok, pid()}.
start_link(Sup, N) ->
    {ok, proc_lib:spawn_link(?MODULE, init, [Sup, N])}.

-spec init(pid(), pos_integer()) -> no_return().
init(Sup, N) ->
    Children = supervisor:which_children(Sup),
    {_, Connections, _, _} = lists:keyfind(connections, 1, Children),
    {_, Owner, _, _} = lists:keyfind(owner, 1, Children),
    Listeners = gen_server:call(Owner, listeners),
    loop(lists:nth(1 + N rem length(Listeners), Listeners), Connections).

loop(Listener, Connections) ->
    case weft:accept(Listener) of
        {ok, Conn} ->
            _ = start(Conn, Connections),
            loop(Listener, Connections);
        {error, Reason} ->
            %% The listener has stopped: with all acceptors gone the tree goes, and may be started anew.
            exit({shutdown, {listener, Reason}})
    end.

%% A connection that fails to be set up is closed, and no acceptor with it.
start(Conn, Connections) ->
    case supervisor:start_child(Connections, []) of
        {ok, Pid} ->
            try weft_connection:hand_over(Pid, Conn, 30000) of
                ok -> ok;
                {error, _} -> weft:close(Conn)
            catch
                exit:_ -> weft:close(Conn)
            end;
        _ ->
            weft:close(Conn)
    end.
