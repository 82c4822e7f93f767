#version 120
uniform mat4 u_matrix;
uniform vec3 u_ground;
uniform vec3 u_accent;
uniform float u_focus;       // 1 while something is in focus: other tubes step back
uniform float u_thinnest;    // radius of the thinnest visible tube, over its distance
attribute vec3 a_middle;     // the nearest point of the tube's middle line
attribute vec3 a_normal;     // zero where the surface is flat and unlit
attribute vec2 a_radius;     // of the vertex, of its tube
attribute vec3 a_colour;
attribute float a_glow;      // 1 for tubes in focus
varying vec3 v_colour;
varying vec3 v_normal;

void main() {
    v_colour = mix(mix(a_colour, u_ground, 0.8 * u_focus * (1.0 - a_glow)), u_accent, a_glow);
    v_normal = a_normal;
    // far tubes keep a width of about a pixel, or they would break up into dashes
    float away = (u_matrix * vec4(a_middle, 1.0)).w;
    float thinnest = u_thinnest * (1.0 + a_glow);
    float wider = a_radius.y > 0.0 ? max(1.0 + 0.4 * a_glow, thinnest * away / a_radius.y) : 1.0;
    gl_Position = u_matrix * vec4(a_middle + a_normal * (a_radius.x * wider), 1.0);
}
