"""Pictures for people: depth colours, the wave that reveals a scene, sheets."""
