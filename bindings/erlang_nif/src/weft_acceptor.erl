%% @private One of the processes that accept for a {@link weft_listener}.
-module(weft_acceptor).

-export([start_link/1, init/1]).

-spec start_link(pid()) -> {ok, pid()}.
start_link(Sup) ->
    {ok, proc_lib:spawn_link(?MODULE, init, [Sup])}.

-spec init(pid()) -> no_return().
init(Sup) ->
    Children = supervisor:which_children(Sup),
    {_, Connections, _, _} = lists:keyfind(connections, 1, Children),
    {_, Owner, _, _} = lists:keyfind(owner, 1, Children),
    loop(gen_server:call(Owner, listener), Connections).

loop(Listener, Connections) ->
    case weft:accept(Listener) of
        {ok, Conn} ->
            _ = start(Conn, Connections),
            loop(Listener, Connections);
        {error, _} ->
            %% The listener has stopped; the tree goes, too, or its owner starts anew and with it this pool.
            receive
                never -> ok
            end
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
