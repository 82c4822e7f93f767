#version 120
uniform vec3 u_light;        // direction towards the light
varying vec3 v_colour;
varying vec3 v_normal;

void main() {
    float length_ = length(v_normal);
    float shade = length_ > 0.1 ? 0.88 + 0.15 * dot(v_normal / length_, u_light) : 1.0;
    gl_FragColor = vec4(v_colour * shade, 1.0);
}
