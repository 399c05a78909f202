%% Who listens where, from the environment: nodes of a test need no daemon, and can be sent through a relay.
-module(weft_test_epmd).
-export([start_link/0, register_node/2, register_node/3, port_please/2, port_please/3, listen_port_please/2, names/1, address_please/3]).

start_link() -> ignore.
register_node(Name, Port) -> register_node(Name, Port, inet).
register_node(_, _, _) -> {ok, rand:uniform(1000) + 3}.
port_please(Name, Host) -> port_please(Name, Host, infinity).
port_please(Name, _, _) ->
    case os:getenv("WEFT_TEST_PORT_" ++ Name) of
        false -> noport;
        Port -> {port, list_to_integer(Port), 5}
    end.
listen_port_please(_, _) -> {ok, 0}.
names(_) -> {ok, []}.
address_please(_, Host, Family) -> inet:getaddr(Host, Family).
